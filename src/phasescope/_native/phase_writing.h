/* Writing a boundary: into the ring where all is regular, else by the event writer; and what follows an exception. */
#ifndef PHASESCOPE_PHASE_WRITING_H
#define PHASESCOPE_PHASE_WRITING_H

#include "phase_reading.h"

static int
describe(const Context *c, const Writer *writer, const Scope *scope, long long now_ns, const Counters *counters,
         Boundary *event)
{
    PyObject *device = scope->device_state, *last = slot_at(device, c->device_last), *parent = scope->parent_scope;
    long long last_allocated, mask;
    event->device = bytes_at(device, c->device_class, c->device_packed);
    event->thread = bytes_at(scope->entering_thread, c->thread_class, c->thread_packed);
    event->path = bytes_at(scope->phase_path, c->path_class, c->path_packed);
    if (event->device == NULL || event->thread == NULL || event->path == NULL || last == NULL
        || !is_number(last, &last_allocated) || !is_number(slot_at(device, c->device_mask), &mask)) {
        return 0;
    }
    if (parent != NULL && parent != Py_None && !PyObject_TypeCheck(parent, c->types->scope_type)) {
        return 0;
    }
    if (now_ns < -LARGEST || now_ns > LARGEST || writer->offset_ns < -LARGEST || writer->offset_ns > LARGEST
        || scope->entered_ns < -LARGEST || scope->entered_ns > LARGEST
        || scope->allocated_on_entry < -LARGEST || scope->allocated_on_entry > LARGEST) {
        return 0;
    }
    event->time_ns = now_ns + writer->offset_ns;
    event->change = last_allocated >= 0 ? counters->allocated - last_allocated : 0;
    event->is_as_before = counters->allocated == last_allocated;
    event->sequence = writer->sequence + 1;
    event->scope_sequence = scope->enter_sequence;
    event->parent_sequence = parent == NULL || parent == Py_None ? -1 : ((Scope *)parent)->enter_sequence;
    event->duration_ns = now_ns - scope->entered_ns;
    event->has_delta = !((mask | scope->mask_on_entry) & ALLOCATED_UNKNOWN);
    event->allocated_delta = counters->allocated - scope->allocated_on_entry;
    event->attributes = scope->phase_attributes;
    return 1;
}

/* Write a boundary; 1 where it is written, 0 where it is the event writer's to write. No Python code runs in here. */
static int
write_boundary(const Context *c, Writer *writer, Scope *scope, int is_exit, long long now_ns, const Counters *counters)
{
    unsigned char record[RECORD_HEADER + MOST_PAYLOAD];
    PyObject *device = scope->device_state, *ring = writer->ring;
    OpenPhases *open = (OpenPhases *)writer->open;
    Boundary event;
    if (!counters->is_plain || Py_TYPE(writer) != c->writer_class || writer->state != WRITER_FREE
        || (!is_exit && (PyObject *)writer != c->writer) /* the session ended meanwhile */
        || Py_TYPE(device) != c->device_class || slot_at(device, c->device_measures) != Py_None
        || open == NULL || Py_TYPE(open) != c->types->open_type || (scope->listed_in == open) != is_exit
        || ring == NULL || !PyObject_TypeCheck(ring, c->types->ring_type)
        || !describe(c, writer, scope, now_ns, counters, &event)) {
        return 0;
    }
    unsigned char *end = pack_boundary(record + RECORD_HEADER, MOST_PAYLOAD, is_exit, &event, counters);
    PyObject **last = (PyObject **)((char *)device + c->device_last), *allocated = NULL;
    if (end != NULL) {
        allocated = event.is_as_before ? Py_NewRef(*last) : PyLong_FromLongLong(counters->allocated);
    }
    /* Made before the write: there may be no memory for it, and then nothing was changed. */
    if (allocated == NULL) {
        PyErr_Clear();
        return 0;
    }
    if (!ring_append((Ring *)ring, record, (size_t)(end - record) - RECORD_HEADER)) {
        Py_DECREF(allocated);
        return 0;
    }
    writer->sequence = event.sequence;
    if (is_exit) {
        unlist_open(scope);
    }
    else {
        list_open(open, scope);
        scope->enter_sequence = event.sequence;
    }
    Py_XSETREF(*last, allocated);
    return 1;
}

static int
write_in_python(const Context *c, Writer *writer, Scope *scope, int is_exit, long long now_ns, const Counters *counters)
{
    PyObject *time = PyLong_FromLongLong(now_ns), *given = counters_object(counters), *result = NULL;
    if (time != NULL && given != NULL) {
        PyObject *args[8] = {(PyObject *)writer, (PyObject *)scope, time, given, c->text_ok, Py_None, Py_None, Py_None};
        result = PyObject_VectorcallMethod(is_exit ? c->name_exit : c->name_enter, args, is_exit ? 8 : 4, NULL);
    }
    Py_XDECREF(time);
    Py_XDECREF(given);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Clear up after an exception in the middle of a boundary; -1 where it is the training's own and goes on. */
static int
clear_up(const Context *c, Scope *self, Writer *writer, PyObject *note)
{
    PyObject *type, *error, *trace;
    PyErr_Fetch(&type, &error, &trace);
    PyErr_NormalizeException(&type, &error, &trace);
    if (trace != NULL) {
        PyException_SetTraceback(error, trace);
    }
    int is_theirs = !PyErr_GivenExceptionMatches(error, PyExc_Exception);
    PyObject *result = PyObject_CallFunctionObjArgs(c->break_off, self, writer, error, note, NULL);
    if (result != NULL) {
        is_theirs = PyObject_IsTrue(result);
        Py_DECREF(result);
    }
    else if (PyErr_ExceptionMatches(PyExc_Exception)) { /* there may be no stack left; the sampler clears up */
        PyErr_Clear();
        self->is_open = 0;
    }
    else {
        Py_XDECREF(type);
        Py_XDECREF(error);
        Py_XDECREF(trace);
        return -1;
    }
    if (is_theirs) {
        PyErr_Restore(type, error, trace);
        return -1;
    }
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(trace);
    return 0;
}

#endif
