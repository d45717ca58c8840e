/* A sample of the host, written as capture/sampler.py writes one: all that is made before anything is changed, then the
 * record, the device's new figures and the sign of life, with no Python code in between.
 */
#include "event.h"
#include "reading.h"
#include "sampler.h"

enum { MOST_OPEN = 1000 };        /* phases, that are gone through here */
enum { FIGURES_UNKNOWN = 0xE0 }; /* the bits of used, free and total in a mask; see wire/codec.py */
static const long long CLOCK_JUMP_NS = 10000000; /* as capture/event_writer.py has it */

/* The phase that the sample names, borrowed, as Sampler._innermost finds it; 0 where one is to be closed. */
static int
find_innermost(const Context *c, const Sampler *self, const Writer *writer, Scope **found)
{
    const OpenPhases *open = (const OpenPhases *)writer->open;
    int is_at_home = 0;
    *found = NULL;
    if (open == NULL || Py_TYPE(open) != c->types->open_type || open->count > MOST_OPEN) {
        return 0;
    }
    for (Scope *scope = open->first; scope != NULL; scope = scope->behind) {
        if (!scope->is_open || scope->entering_thread == NULL
            || Py_TYPE(scope->entering_thread) != c->thread_class) {
            return 0;
        }
        PyObject *ident = slot_at(scope->entering_thread, c->thread_ident);
        long long number;
        if (ident == NULL || !is_number(ident, &number)) {
            return 0;
        }
        int is_home = (unsigned long long)number == self->home_thread;
        if (is_home || !is_at_home) {
            *found = scope;
        }
        is_at_home |= is_home;
    }
    return 1;
}

static int
name_phase(const Context *c, const Scope *scope, Sample *event)
{
    event->parent_sequence = -1;
    if (scope == NULL || scope->enter_sequence == 0) {
        event->scope_sequence = 0;
        return 1;
    }
    PyObject *parent = scope->parent_scope;
    if (parent != NULL && parent != Py_None) {
        if (!PyObject_TypeCheck(parent, c->types->scope_type)) {
            return 0;
        }
        event->parent_sequence = ((Scope *)parent)->enter_sequence;
    }
    event->scope_sequence = scope->enter_sequence;
    event->thread = bytes_at(scope->entering_thread, c->thread_class, c->thread_packed);
    event->path = bytes_at(scope->phase_path, c->path_class, c->path_packed);
    event->attributes = scope->phase_attributes;
    return event->thread != NULL && event->path != NULL;
}

void
forget_made(Made *made)
{
    Py_CLEAR(made->figures);
    Py_CLEAR(made->encoded);
    Py_CLEAR(made->packed);
    Py_CLEAR(made->given);
    Py_CLEAR(made->details);
    Py_CLEAR(made->none);
}

int
make_figures(const Context *c, const Sampler *self, const long long figures[3], Made *made)
{
    PyObject *old = ((Host *)self->host)->figures, *device = self->device;
    unsigned char text[5 + 5 * NUMBER_BYTES], *at = pack_raw(text, "\x96\xA3" "cpu", 5);
    long long number, mask;
    if (!PyTuple_Check(old) || !is_number(slot_at(device, c->device_mask), &mask) || (mask & FIGURES_UNKNOWN)
        || !is_number(slot_at(device, c->device_id), &number)) {
        return 0;
    }
    at = pack_integer(at, number);
    for (int index = 0; index < 3; index++) {
        at = pack_integer(at, figures[index]);
    }
    at = pack_integer(at, mask);
    PyObject *values = Py_BuildValue("((LLL))", figures[0], figures[1], figures[2]);
    made->figures = values == NULL ? NULL : PyTuple_Type.tp_new(Py_TYPE(old), values, NULL);
    Py_XDECREF(values);
    made->packed = PyBytes_FromStringAndSize((char *)text, at - text);
    made->encoded = made->packed == NULL ? NULL : PyObject_CallOneArg(c->raw, made->packed);
    return made->figures != NULL && made->encoded != NULL;
}

/* What Python has found out for this sample, if it has: packed behind how late that comes. */
int
make_details(const Context *c, const Sampler *self, long long late_ns, Made *made)
{
    PyObject *given = slot_at(self->device, c->device_extra);
    if (given == NULL || !PyDict_CheckExact(given)) {
        return 0;
    }
    made->given = Py_NewRef(given);
    if (PyDict_GET_SIZE(given) == 0) {
        return 1;
    }
    PyObject *all = PyDict_New(), *late = PyLong_FromLongLong(late_ns);
    if (all != NULL && late != NULL && PyDict_SetItem(all, c->name_late, late) == 0 && PyDict_Update(all, given) == 0) {
        made->details = PyObject_CallOneArg(c->encode, all);
    }
    made->none = PyDict_New();
    Py_XDECREF(all);
    Py_XDECREF(late);
    return made->details != NULL && PyBytes_CheckExact(made->details) && made->none != NULL;
}

static void
put_at(PyObject *object, Py_ssize_t offset, PyObject *value)
{
    PyObject **place = (PyObject **)((char *)object + offset);
    Py_XSETREF(*place, Py_NewRef(value));
}

static void
take_figures(const Context *c, Sampler *self, const Made *made, long long now_ns)
{
    Host *host = (Host *)self->host;
    put_at(self->device, c->device_told, made->figures);
    put_at(self->device, c->device_figures, made->figures);
    put_at(self->device, c->device_encoded, made->encoded);
    put_at(self->device, c->device_packed, made->packed);
    put_at((PyObject *)host, offsetof(Host, figures), made->figures);
    host->due_ns = now_ns + FIGURES_NS;
}

static int
describe_sample(const Context *c, const Sampler *self, long long last_allocated, Sample *event)
{
    PyObject *device = self->device, *collector = slot_at(device, c->device_collector);
    Scope *scope;
    if (!find_innermost(c, self, (Writer *)self->writer, &scope) || !name_phase(c, scope, event)) {
        return 0;
    }
    if (event->device == NULL) {
        event->device = bytes_at(device, c->device_class, c->device_packed);
    }
    event->resident_bytes = resident_and_shared_bytes(slot_at(collector, c->collector_read), &event->shared_bytes);
    event->change = last_allocated >= 0 ? event->resident_bytes - last_allocated : 0;
    return event->device != NULL && event->resident_bytes >= 0 && event->shared_bytes >= 0;
}

/* Write the sample, and store the sign of life; whether it could. No Python code runs in here, and nothing that the
 * garbage collector looks at is made.
 */
int
write_sample(const Context *c, Sampler *self, long long now_ns, long long wall_ns, long long late_ns,
             const Made *made)
{
    unsigned char record[RECORD_HEADER + MOST_PAYLOAD];
    Writer *writer = (Writer *)self->writer;
    Ring *ring = (Ring *)writer->ring;
    PyObject *last = slot_at(self->device, c->device_last), *dropped = slot_at((PyObject *)writer, c->writer_dropped);
    long long last_allocated, dropped_events;
    Sample event = {.time_ns = now_ns + writer->offset_ns, .late_ns = late_ns, .device = made->packed,
                    .details = made->details};
    if (last == NULL || !is_number(last, &last_allocated) || dropped == NULL || !is_number(dropped, &dropped_events)
        || dropped_events < 0 || llabs(wall_ns - now_ns - writer->offset_ns) > CLOCK_JUMP_NS
        || !describe_sample(c, self, last_allocated, &event)) {
        return 0;
    }
    unsigned char *end = pack_sample(record + RECORD_HEADER, MOST_PAYLOAD, &event);
    PyObject *allocated = end == NULL ? NULL : PyLong_FromLongLong(event.resident_bytes);
    if (allocated == NULL || !ring_append(ring, record, (size_t)(end - record) - RECORD_HEADER)) {
        PyErr_Clear();
        Py_XDECREF(allocated);
        return 0;
    }
    put_at(self->device, c->device_last, allocated);
    Py_DECREF(allocated);
    if (made->figures != NULL) {
        take_figures(c, self, made, now_ns);
    }
    if (made->none != NULL) {
        put_at(self->device, c->device_extra, made->none);
    }
    self->sampled_sequence = writer->sequence;
    if (!ring_beat(ring, (uint64_t)wall_ns, (uint64_t)dropped_events)) {
        Py_CLEAR(self->device); /* the next tick is Python's, which sees to the file */
    }
    return 1;
}
