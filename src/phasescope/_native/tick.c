/* The sampler's tick, as long as the host is all that is measured and nothing has happened: capture/sampler.py's, step by
 * step. It runs ten times a second in a process whose caches hold other things by then, so what counts is how little
 * code and data it walks through.
 *
 * After each tick of its own Python says what the core may rely on until its next one (`_rely_on`). Whatever is otherwise by
 * then is found out before anything was changed, and the tick is Python's. Once a second Python finds out what is not
 * read at each tick, and leaves it in the device's `extra` for the sample that comes next.
 *
 * The interpreter's lock is let go of for the wait, and for what may keep the kernel busy; it is held from the reading of
 * the resident set to the last store, and no Python code runs in between. So a fork finds the thread at rest without
 * the lock of `_forks.Work`.
 */
#include "event.h"
#include "host.h"
#include "reading.h"

enum { MOST_OPEN = 1000 };        /* phases, that are gone through here */
enum { FIGURES_UNKNOWN = 0xE0 }; /* the bits of used, free and total in a mask; see wire/codec.py */
static const long long CLOCK_JUMP_NS = 10000000; /* as capture/event_writer.py has it */

typedef struct {
    PyObject_HEAD
    PyObject *writer;
    PyObject *collectors;
    PyObject *asks;
    PyObject *request_path; /* bytes; None: there are no requests */
    long long interval_ns;
    long long due_ns;
    long long sampled_sequence;
    long long details_due_ns; /* when Python is to find out what the core cannot */
    char has_request; /* that is being answered */

    PyObject *device; /* NULL: nothing to rely on */
    PyObject *admitted;
    PyObject *host;
    unsigned long long home_thread;
    long long total, lowest, below; /* of this total, used memory that crosses no threshold */

    PyThread_type_lock wake; /* taken, until the thread is to end */
    char is_woken;
} Sampler;

/* What is asked of the kernel without the interpreter's lock, and the answers. */
typedef struct {
    HostFiles files;
    unsigned long long looks;
    RingFile ring;
    PyObject *request_path; /* bytes; NULL: it is not asked for */
    char wants_figures, has_figures, is_whole, is_requested;
    long long figures[3];
} Question;

static Context *
context_of_writer(const PyObject *writer)
{
    Context *context = contexts;
    while (context != NULL && context->writer_class != Py_TYPE(writer)) {
        context = context->next;
    }
    return context;
}

/* Both clocks; -1 with an error. */
static int
read_clocks(const Context *c, Writer *writer, long long *now_ns, long long *wall_ns)
{
    PyObject *clock = slot_at((PyObject *)writer, c->writer_wall_ns);
#ifdef __linux__
    struct timespec wall;
    if (clock == c->system_wall_clock && clock_gettime(CLOCK_REALTIME, &wall) == 0) {
        *wall_ns = wall.tv_sec * 1000000000LL + wall.tv_nsec;
        return read_clock(c, writer, now_ns);
    }
#endif
    PyObject *number = clock == NULL ? NULL : PyObject_CallNoArgs(clock);
    int is_read = number != NULL && is_number(number, wall_ns);
    Py_XDECREF(number);
    return is_read ? read_clock(c, writer, now_ns) : -1;
}

/* Whether what Python relied on is still so. */
static int
is_regular(const Context *c, const Sampler *self, long long now_ns)
{
    const Writer *writer = (const Writer *)self->writer;
    PyObject *device = self->device, *collectors = self->collectors;
    if (device == NULL || c == NULL || now_ns >= self->details_due_ns || writer->state != WRITER_FREE
        || writer->ring == NULL || !PyObject_TypeCheck(writer->ring, c->types->ring_type)
        || Py_TYPE(collectors) != c->collectors_class || Py_TYPE(device) != c->device_class
        || slot_at(collectors, c->collectors_admitted) != self->admitted
        || slot_at(device, c->device_measures) != Py_None) {
        return 0;
    }
    PyObject *pending = slot_at(collectors, c->collectors_pending), *collector = slot_at(device, c->device_collector);
    PyObject *read = collector != NULL && Py_TYPE(collector) == c->collector_class ? slot_at(collector, c->collector_read)
                                                                                  : NULL;
    const Host *host = (const Host *)self->host;
    return read != NULL && Py_TYPE(read) == c->types->resident_type && pending != NULL && PyList_CheckExact(pending)
        && (PyList_GET_SIZE(pending) == 0 || is_still(slot_at(collectors, c->collectors_awaited)))
        && host->figures != NULL && slot_at(device, c->device_told) == host->figures
        && (now_ns < host->due_ns || now_ns < host->known_until_ns);
}

static void
take_question(const Sampler *self, Question *question)
{
    const Host *host = (const Host *)self->host;
    question->files = host->files;
    question->looks = host->looks;
    question->ring = ((Ring *)((Writer *)self->writer)->ring)->file;
}

/* Needs no lock: all that is asked about is here by value. */
static void
ask_kernel(Question *question)
{
    question->is_whole = (char)ring_is_whole(&question->ring);
    question->has_figures = question->wants_figures && read_host(&question->files, question->figures);
#ifndef _WIN32
    question->is_requested =
        question->request_path != NULL && access(PyBytes_AS_STRING(question->request_path), F_OK) == 0;
#endif
}

/* The phase that the sample names, borrowed, as Sampler._innermost finds it; 0 where one is to be closed. */
static int
find_innermost(const Context *c, const Sampler *self, const Writer *writer, Scope **found)
{
    PyObject *key, *value, *open = writer->open;
    Py_ssize_t place = 0;
    int is_at_home = 0;
    *found = NULL;
    if (open == NULL || !PyDict_CheckExact(open) || PyDict_GET_SIZE(open) > MOST_OPEN) {
        return 0;
    }
    while (PyDict_Next(open, &place, &key, &value)) {
        Scope *scope = (Scope *)key;
        if (!PyObject_TypeCheck(key, c->types->scope_type) || !scope->is_open || scope->entering_thread == NULL
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

/* What a sample takes along or changes, made before anything is changed: the garbage collector may run amid that. */
typedef struct {
    PyObject *figures, *encoded, *packed; /* the device's new ones, as DeviceState.set_figures makes them, or NULL */
    PyObject *given, *details, *none;     /* the device's `extra`; the same packed, or NULL; an empty one */
} Made;

static void
forget_made(Made *made)
{
    Py_CLEAR(made->figures);
    Py_CLEAR(made->encoded);
    Py_CLEAR(made->packed);
    Py_CLEAR(made->given);
    Py_CLEAR(made->details);
    Py_CLEAR(made->none);
}

static int
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
static int
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

/* Whether these figures cross no threshold. */
static int
is_quiet(const Sampler *self, const long long figures[3])
{
    return figures[2] == self->total && figures[0] >= self->lowest && figures[0] < self->below;
}

/* Whether those do that are known: Python may have read them. */
static int
is_quiet_so_far(const Sampler *self)
{
    PyObject *known = ((Host *)self->host)->figures;
    long long figures[3];
    for (int index = 0; index < 3; index++) {
        if (!PyTuple_Check(known) || PyTuple_GET_SIZE(known) != 3
            || !is_number(PyTuple_GET_ITEM(known, index), &figures[index])) {
            return 0;
        }
    }
    return is_quiet(self, figures);
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
static int
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

/* Whether all is as it was when the kernel was asked, and the parts were made. */
static int
is_as_asked(const Context *c, const Sampler *self, const Question *question, const Made *made, long long now_ns)
{
    if (!is_regular(c, self, now_ns)) {
        return 0;
    }
    const Ring *ring = (const Ring *)((Writer *)self->writer)->ring;
    const Host *host = (const Host *)self->host;
    return ring->may_beat && ring->file.file.fd == question->ring.file.fd && host->looks == question->looks
        && (made->figures != NULL || (now_ns < host->due_ns && is_quiet_so_far(self)))
        && slot_at(self->device, c->device_extra) == made->given;
}

/* The tick, once the kernel has answered; 0 where it is Python's. `due_ns`: when it was to come, or -1 for `late_ns`. */
static int
tick(Sampler *self, const Question *question, long long due_ns, long long late_ns)
{
    const Context *c = context_of_writer(self->writer);
    Made made = {NULL};
    long long now_ns, wall_ns;
    int is_done = 0;
    if (c == NULL || !question->is_whole || read_clocks(c, (Writer *)self->writer, &now_ns, &wall_ns) < 0
        || self->device == NULL) {
        PyErr_Clear();
        return 0;
    }
    if (due_ns >= 0) {
        late_ns = now_ns > due_ns ? now_ns - due_ns : 0;
    }
    if ((!question->wants_figures
         || (question->has_figures && is_quiet(self, question->figures)
             && make_figures(c, self, question->figures, &made)))
        && make_details(c, self, late_ns, &made) && is_as_asked(c, self, question, &made, now_ns)) {
        is_done = write_sample(c, self, now_ns, wall_ns, late_ns, &made);
    }
    PyErr_Clear();
    forget_made(&made);
    return is_done;
}

/* _tick_in_core(late_ns): whether the tick was done. */
static PyObject *
sampler_tick(Sampler *self, PyObject *late)
{
    Question question = {.request_path = NULL};
    const Context *c = context_of_writer(self->writer);
    long long now_ns, wall_ns, late_ns;
    if (self->device == NULL || c == NULL || !is_number(late, &late_ns)
        || read_clocks(c, (Writer *)self->writer, &now_ns, &wall_ns) < 0 || !is_regular(c, self, now_ns)) {
        PyErr_Clear();
        Py_RETURN_FALSE;
    }
    take_question(self, &question);
    question.wants_figures = now_ns >= ((Host *)self->host)->due_ns;
    Py_BEGIN_ALLOW_THREADS
    ask_kernel(&question);
    Py_END_ALLOW_THREADS
    return PyBool_FromLong(tick(self, &question, -1, late_ns));
}

static long long
monotonic_ns(void)
{
#ifdef __linux__
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
#else
    return 0;
#endif
}

/* Wait for the time or for `_wake`, whichever comes first. Needs no lock of the interpreter's. */
static long long
wait_until(PyThread_type_lock wake, long long due_ns)
{
    long long now_ns = monotonic_ns();
    while (now_ns < due_ns) {
        if (PyThread_acquire_lock_timed(wake, (due_ns - now_ns + 999) / 1000, 0) == PY_LOCK_ACQUIRED) {
            PyThread_release_lock(wake);
            break;
        }
        now_ns = monotonic_ns();
    }
    return now_ns;
}

static int
is_all_regular(const Sampler *self)
{
    return self->device != NULL && !self->has_request && self->asks != NULL && PyList_CheckExact(self->asks)
        && PyList_GET_SIZE(self->asks) == 0;
}

/* _wait_in_core(): do ticks as they fall due. Returns whether the thread is to end; if not, a tick of Python's is due. */
static PyObject *
sampler_wait(Sampler *self, PyObject *Py_UNUSED(ignored))
{
    while (!self->is_woken) {
        Question question = {.request_path = NULL};
        int is_ours = is_all_regular(self);
        long long due_ns = self->due_ns, figures_due_ns = is_ours ? ((Host *)self->host)->due_ns : 0;
        if (is_ours) {
            take_question(self, &question);
            question.request_path = Py_XNewRef(self->request_path == Py_None ? NULL : self->request_path);
        }
        Py_BEGIN_ALLOW_THREADS
        long long now_ns = wait_until(self->wake, due_ns);
        if (is_ours) {
            question.wants_figures = now_ns >= figures_due_ns;
            ask_kernel(&question);
        }
        Py_END_ALLOW_THREADS
        Py_XDECREF(question.request_path);
        if (self->is_woken) {
            break;
        }
        if (!is_ours || question.is_requested || !is_all_regular(self) || !tick(self, &question, due_ns, 0)) {
            Py_RETURN_FALSE;
        }
        long long now_ns = monotonic_ns();
        self->due_ns += (now_ns > due_ns ? (now_ns - due_ns) / self->interval_ns + 1 : 1) * self->interval_ns;
    }
    Py_RETURN_TRUE;
}

static PyObject *
sampler_wake(Sampler *self, PyObject *Py_UNUSED(ignored))
{
    if (!self->is_woken) {
        self->is_woken = 1;
        PyThread_release_lock(self->wake);
    }
    Py_RETURN_NONE;
}

/* _rely_on(device, admitted, host, total, lowest, below); without arguments: on nothing. */
static PyObject *
sampler_rely_on(Sampler *self, PyObject *args)
{
    PyObject *device = NULL, *admitted = NULL, *host = NULL;
    const Context *c = context_of_writer(self->writer);
    if (!PyArg_ParseTuple(args, "|OOOLLL", &device, &admitted, &host, &self->total, &self->lowest,
                          &self->below)) {
        return NULL;
    }
    if (host == NULL || c == NULL || !PyObject_TypeCheck(host, c->types->host_type)) {
        device = admitted = host = NULL;
    }
    Py_XSETREF(self->device, Py_XNewRef(device));
    Py_XSETREF(self->admitted, Py_XNewRef(admitted));
    Py_XSETREF(self->host, Py_XNewRef(host));
    Py_RETURN_NONE;
}

static PyObject *
sampler_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    Sampler *self = (Sampler *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->wake = PyThread_allocate_lock();
    if (self->wake == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    PyThread_acquire_lock(self->wake, NOWAIT_LOCK);
    return (PyObject *)self;
}

static int
sampler_traverse(Sampler *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->writer);
    Py_VISIT(self->collectors);
    Py_VISIT(self->asks);
    Py_VISIT(self->request_path);
    Py_VISIT(self->device);
    Py_VISIT(self->admitted);
    Py_VISIT(self->host);
    return 0;
}

static int
sampler_clear(Sampler *self)
{
    Py_CLEAR(self->writer);
    Py_CLEAR(self->collectors);
    Py_CLEAR(self->asks);
    Py_CLEAR(self->request_path);
    Py_CLEAR(self->device);
    Py_CLEAR(self->admitted);
    Py_CLEAR(self->host);
    return 0;
}

static void
sampler_dealloc(Sampler *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    sampler_clear(self);
    if (self->wake != NULL) {
        if (!self->is_woken) {
            PyThread_release_lock(self->wake);
        }
        PyThread_free_lock(self->wake);
    }
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef sampler_methods[] = {
    {"_tick_in_core", (PyCFunction)sampler_tick, METH_O, "Do a tick; whether it could."},
    {"_wait_in_core", (PyCFunction)sampler_wait, METH_NOARGS, "Do ticks as they fall due; whether the thread is to end."},
    {"_wake", (PyCFunction)sampler_wake, METH_NOARGS, "Let the thread end."},
    {"_rely_on", (PyCFunction)sampler_rely_on, METH_VARARGS, "Rely on these until the next tick that is Python's."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef sampler_members[] = {
    {"_writer", T_OBJECT_EX, offsetof(Sampler, writer), 0, NULL},
    {"_collectors", T_OBJECT_EX, offsetof(Sampler, collectors), 0, NULL},
    {"asks", T_OBJECT_EX, offsetof(Sampler, asks), 0, NULL},
    {"_request_path", T_OBJECT, offsetof(Sampler, request_path), 0, NULL},
    {"_interval_ns", T_LONGLONG, offsetof(Sampler, interval_ns), 0, NULL},
    {"_due_ns", T_LONGLONG, offsetof(Sampler, due_ns), 0, NULL},
    {"_sampled_sequence", T_LONGLONG, offsetof(Sampler, sampled_sequence), 0, NULL},
    {"_home_thread", T_ULONGLONG, offsetof(Sampler, home_thread), 0, NULL},
    {"_details_due_ns", T_LONGLONG, offsetof(Sampler, details_due_ns), 0, NULL},
    {"_has_request", T_BOOL, offsetof(Sampler, has_request), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot sampler_slots[] = {
    {Py_tp_new, sampler_new},
    {Py_tp_methods, sampler_methods},
    {Py_tp_members, sampler_members},
    {Py_tp_traverse, sampler_traverse},
    {Py_tp_clear, sampler_clear},
    {Py_tp_dealloc, sampler_dealloc},
    {Py_tp_doc, "The slots of a sampler that a tick needs, and its wait."},
    {0, NULL},
};

static PyType_Spec sampler_spec = {
    .name = "phasescope._native._core.SamplerSlots",
    .basicsize = sizeof(Sampler),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = sampler_slots,
};

PyTypeObject *
make_sampler_type(PyObject *module)
{
    return (PyTypeObject *)PyType_FromModuleAndSpec(module, &sampler_spec, NULL);
}
