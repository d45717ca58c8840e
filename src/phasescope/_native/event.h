/* A phase boundary as a ring payload: the bytes that capture/event_writer.py and msgspec make of the same. */
#ifndef PHASESCOPE_EVENT_H
#define PHASESCOPE_EVENT_H

#include "core.h"
#include "msgpack.h"

typedef struct {
    PyObject *object; /* what the backend gave; NULL where the counters were read here */
    long long allocated, reserved, active, inactive;
    char has_active, has_inactive;
    char is_plain; /* whether the numbers above are what was given */
} Counters;

typedef struct {
    long long time_ns, change;
    long long sequence, scope_sequence, parent_sequence; /* the last -1: no phase around it */
    long long duration_ns, allocated_delta;
    int has_delta;
    int is_as_before; /* allocated, as in the device's event before */
    PyObject *device, *thread, *path; /* bytes, packed already */
    PyObject *attributes;
} Boundary;

static inline unsigned char *
pack_optional(unsigned char *at, int is_known, long long value)
{
    return is_known ? pack_integer(at, value) : pack_byte(at, PACKED_NIL);
}

/* A text, or NULL where there is no room for it, or it has no form in UTF-8. */
static unsigned char *
pack_string(unsigned char *at, const unsigned char *end, PyObject *string)
{
    Py_ssize_t size;
    const char *text = PyUnicode_AsUTF8AndSize(string, &size);
    if (text == NULL) {
        PyErr_Clear();
        return NULL;
    }
    return end - at < size + TEXT_BYTES ? NULL : pack_text(at, text, (size_t)size);
}

static unsigned char *
pack_scalar(unsigned char *at, const unsigned char *end, PyObject *value)
{
    if (PyUnicode_CheckExact(value)) {
        return pack_string(at, end, value);
    }
    if (end - at < NUMBER_BYTES) {
        return NULL;
    }
    if (PyLong_CheckExact(value)) {
        int overflow;
        long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
        return overflow ? NULL : pack_integer(at, number);
    }
    if (PyFloat_CheckExact(value)) {
        return pack_double(at, PyFloat_AS_DOUBLE(value));
    }
    if (value == Py_None) {
        return pack_byte(at, PACKED_NIL);
    }
    if (value == Py_True || value == Py_False) {
        return pack_byte(at, value == Py_True ? PACKED_TRUE : PACKED_FALSE);
    }
    return NULL;
}

static unsigned char *
pack_attributes(unsigned char *at, const unsigned char *end, PyObject *attributes)
{
    if (attributes == NULL || attributes == Py_None) {
        return pack_byte(at, PACKED_NIL);
    }
    if (!PyDict_CheckExact(attributes)) {
        return NULL;
    }
    Py_ssize_t size = PyDict_GET_SIZE(attributes), place = 0;
    if (size > 0xFFFF) {
        return NULL;
    }
    at = size < 16 ? pack_byte(at, (int)(0x80 | size)) : pack_big_endian(at, 0xDE, (uint64_t)size, 2);
    PyObject *key, *value;
    while (PyDict_Next(attributes, &place, &key, &value)) {
        at = PyUnicode_CheckExact(key) ? pack_string(at, end, key) : NULL;
        at = at == NULL ? NULL : pack_scalar(at, end, value);
        if (at == NULL) {
            return NULL;
        }
    }
    return at;
}

/* The payload's end, or NULL where it has no room here, or something has no plain form: then the event is Python's. */
static inline unsigned char *
pack_boundary(unsigned char *at, size_t room, int is_exit, const Boundary *event, const Counters *counters)
{
    static const char enter[] = "\xDC\x00\x10\xAB" "phase_enter", leave[] = "\xDC\x00\x15\xAA" "phase_exit";
    enum { FIXED = 15 + 13 * NUMBER_BYTES + 16, BEHIND = 5 * NUMBER_BYTES };
    const unsigned char *end = at + room;
    size_t device = (size_t)PyBytes_GET_SIZE(event->device), thread = (size_t)PyBytes_GET_SIZE(event->thread);
    size_t path = (size_t)PyBytes_GET_SIZE(event->path);
    if (device > room || thread > room || path > room || FIXED + BEHIND + device + thread + path > room) {
        return NULL;
    }
    at = is_exit ? pack_raw(at, leave, sizeof leave - 1) : pack_raw(at, enter, sizeof enter - 1);
    at = pack_integer(at, event->time_ns);
    at = pack_raw(at, PyBytes_AS_STRING(event->device), device);
    at = pack_integer(at, counters->allocated);
    at = pack_integer(at, counters->reserved);
    at = pack_optional(at, counters->has_active, counters->active);
    at = pack_optional(at, counters->has_inactive, counters->inactive);
    at = pack_integer(at, event->change);
    at = pack_byte(at, PACKED_NIL); /* context */
    at = pack_byte(at, PACKED_NIL); /* extra */
    at = pack_integer(at, event->sequence);
    at = pack_optional(at, is_exit, event->scope_sequence);
    at = pack_optional(at, event->parent_sequence >= 0, event->parent_sequence);
    at = pack_raw(at, PyBytes_AS_STRING(event->thread), thread);
    at = pack_raw(at, PyBytes_AS_STRING(event->path), path);
    at = pack_attributes(at, end - BEHIND, event->attributes);
    if (at == NULL || !is_exit) {
        return at;
    }
    at = pack_integer(at, event->duration_ns);
    at = pack_raw(at, "\xA2ok\xC0", 4); /* status, error_type */
    at = pack_optional(at, event->has_delta, event->allocated_delta);
    return pack_byte(at, PACKED_NIL); /* peak_allocated */
}

/* A sample of the host, and the phase that it names; `scope_sequence` 0 if it names none. */
typedef struct {
    long long time_ns, resident_bytes, shared_bytes, change, late_ns;
    long long scope_sequence, parent_sequence; /* the latter -1: no phase around it */
    PyObject *device, *thread, *path; /* bytes, packed already */
    PyObject *details;                /* the same; NULL: there are none but how late it is, and what is shared */
    PyObject *attributes;
} Sample;

/* The payload's end, or NULL where it has no room here. */
static inline unsigned char *
pack_sample(unsigned char *at, size_t room, const Sample *event)
{
    static const char alone[] = "\x9A\xA6" "sample", inside[] = "\xDC\x00\x10\xA6" "sample";
    static const char late[] = "\x82\xB0" "sampling_late_ns", shared[] = "\xAC" "shared_bytes";
    enum { FIXED = 10 + 18 + 13 + 12 * NUMBER_BYTES + 16 };
    const unsigned char *end = at + room;
    int has_phase = event->scope_sequence != 0;
    size_t device = (size_t)PyBytes_GET_SIZE(event->device);
    size_t thread = has_phase ? (size_t)PyBytes_GET_SIZE(event->thread) : 0;
    size_t path = has_phase ? (size_t)PyBytes_GET_SIZE(event->path) : 0;
    size_t details = event->details == NULL ? 0 : (size_t)PyBytes_GET_SIZE(event->details);
    if (device > room || thread > room || path > room || details > room
        || FIXED + device + thread + path + details > room) {
        return NULL;
    }
    at = has_phase ? pack_raw(at, inside, sizeof inside - 1) : pack_raw(at, alone, sizeof alone - 1);
    at = pack_integer(at, event->time_ns);
    at = pack_raw(at, PyBytes_AS_STRING(event->device), device);
    at = pack_integer(at, event->resident_bytes); /* allocated */
    at = pack_integer(at, event->resident_bytes); /* reserved */
    at = pack_raw(at, "\xC0\xC0", 2);             /* active, inactive */
    at = pack_integer(at, event->change);
    at = pack_byte(at, PACKED_NIL); /* context */
    if (event->details != NULL) {
        at = pack_raw(at, PyBytes_AS_STRING(event->details), details);
    }
    else {
        at = pack_raw(at, late, sizeof late - 1);
        at = pack_integer(at, event->late_ns);
        at = pack_raw(at, shared, sizeof shared - 1);
        at = pack_integer(at, event->shared_bytes);
    }
    if (!has_phase) {
        return at;
    }
    at = pack_integer(at, event->scope_sequence);
    at = pack_byte(at, PACKED_NIL); /* it is not its boundary */
    at = pack_optional(at, event->parent_sequence >= 0, event->parent_sequence);
    at = pack_raw(at, PyBytes_AS_STRING(event->thread), thread);
    at = pack_raw(at, PyBytes_AS_STRING(event->path), path);
    return pack_attributes(at, end, event->attributes);
}

#endif
