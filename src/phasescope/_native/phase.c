/* The phase: its enter and exit where all is regular, without an interpreted line.
 *
 * Python's `phase` stays what users see, derive from and what torch.compile follows. Calling it gives an object of a
 * type that derives from it (phase_creation.c), whose `__enter__` and `__exit__` are the ones below. They do what
 * capture/phase.py does, step by step. Where something is not regular they call its methods, before they have changed
 * anything; where that is seen only at the write, they call the event writer's.
 *
 * To set the context variable costs more than all else that a boundary does. So a phase that nobody can enter again is
 * left there when it ends (`is_left`), and passed over by whoever looks: the next enter sets the variable anyway.
 *
 * The interpreter's lock is held from the first check to the last store, but for the calls of a backend or of a test's
 * clock. No signal handler and no other thread comes between, so no lock is taken: where another thread is in the
 * middle of a write of its own, the writer's state says so, and Python waits for it.
 */
#include "phase_writing.h"

static int
set_current(const Context *c, PyObject *scope)
{
    PyObject *token = PyContextVar_Set(c->variable, scope);
    Py_XDECREF(token);
    return token == NULL ? -1 : 0;
}

/* The phase that this context is in, borrowed: what the variable holds, but for phases that were left behind there. */
static PyObject *
current_of(const Context *c, PyObject *held)
{
    while (Py_TYPE(held) == c->compiled && ((Scope *)held)->is_left && !((Scope *)held)->is_open) {
        PyObject *parent = ((Scope *)held)->parent_scope;
        held = parent == NULL ? Py_None : parent;
    }
    return held;
}

static int
is_open_in(const Context *c, PyObject *scope, const Writer *writer)
{
    return PyObject_TypeCheck(scope, c->types->scope_type) && ((Scope *)scope)->is_open
        && ((Scope *)scope)->event_writer == (PyObject *)writer && ((Scope *)scope)->phase_path != NULL;
}

/* The path of the phase with this name inside of `parent`, borrowed; NULL where Python is to find it. */
static PyObject *
find_path(const Context *c, PyObject *parent, PyObject *name)
{
    PyObject *outer = parent == Py_None ? c->root : ((Scope *)parent)->phase_path;
    PyObject *children = Py_TYPE(outer) == c->path_class ? slot_at(outer, c->path_children) : NULL;
    if (children == NULL || !PyDict_CheckExact(children) || name == NULL || !PyUnicode_CheckExact(name)) {
        return NULL;
    }
    PyObject *path = PyDict_GetItemWithError(children, name);
    if (path == NULL) {
        PyErr_Clear();
    }
    return path;
}

/* All of an enter, from the device on; -1 with an error. */
static int
begin(Context *c, Scope *self, Writer *writer)
{
    Counters counters = {0};
    PyObject *device = find_device(c, writer);
    if (device == NULL) {
        return -1;
    }
    Py_XSETREF(self->device_state, device);
    Py_INCREF(device);
    Moment moment = {.is_known = reads_resident_set(c, device) && writer->now == c->system_clock};
    int is_read = moment.is_known ? read_clock(c, writer, &moment.now_ns) : 0;
    is_read = is_read < 0 ? -1 : read_counters(c, device, &moment, &counters);
    long long mask = 0, now_ns = 0;
    if (is_read == 0 && !counters.is_plain) { /* left to the event writer, as the twin would give it what there is */
        PyObject *first = PySequence_GetItem(counters.object, 0);
        counters.allocated = first == NULL ? -1 : PyLong_AsLongLong(first);
        Py_XDECREF(first);
        is_read = PyErr_Occurred() ? -1 : 0;
    }
    PyObject *known = is_read == 0 ? slot_at(device, c->device_mask) : NULL; /* else it need not be a device at all */
    if (is_read == 0 && (known == NULL || !is_number(known, &mask))) {
        PyErr_SetString(PyExc_TypeError, "no mask");
        is_read = -1;
    }
    self->mask_on_entry = (int)mask;
    self->allocated_on_entry = counters.allocated;
    Py_DECREF(device);
    int result = is_read < 0 ? -1 : read_clock(c, writer, &now_ns);
    if (result == 0) {
        self->entered_ns = now_ns;
        if (!write_boundary(c, writer, self, 0, now_ns, &counters)) {
            result = write_in_python(c, writer, self, 0, now_ns, &counters);
        }
    }
    Py_XDECREF(counters.object);
    return result < 0 ? -1 : set_current(c, (PyObject *)self);
}

/* What a Python method gives; `otherwise` where there was no stack left to call it. The compiled one needs none, so the
 * training's own RecursionError is on its way here, and stays the only one.
 */
static PyObject *
unless_stack_ends(PyObject *result, PyObject *otherwise, PyObject *on_its_way)
{
    if (result == NULL && PyErr_ExceptionMatches(PyExc_RecursionError)) {
        PyObject *type, *error, *trace;
        PyErr_Fetch(&type, &error, &trace);
        /* Without a trace it did not come to a first line; else it came so far that the rest had no stack. */
        if (trace == NULL || (on_its_way != NULL && PyErr_GivenExceptionMatches(on_its_way, PyExc_RecursionError))) {
            Py_XDECREF(type);
            Py_XDECREF(error);
            Py_XDECREF(trace);
            return Py_NewRef(otherwise);
        }
        PyErr_Restore(type, error, trace);
    }
    return result;
}

static PyObject *
enter_in_python(const Context *c, PyObject *object)
{
    return unless_stack_ends(PyObject_CallOneArg(c->enter_twin, object), object, NULL);
}

/* A phase that was left behind may be what another context holds: it stays closed, and a twin is entered for it. */
static PyObject *
enter_again(const Context *c, PyObject *object, PyObject *writer)
{
    Py_XSETREF(((Scope *)object)->event_writer, Py_NewRef(writer)); /* by which its exit finds the twin */
    PyObject *result = PyObject_CallFunctionObjArgs(c->enter_again, object, writer, NULL);
    if ((result = unless_stack_ends(result, Py_None, NULL)) == NULL) {
        return NULL;
    }
    Py_DECREF(result);
    return Py_NewRef(object);
}

/* Whether the phase, which was entered before, is around this one: it was closed elsewhere, and is not open. */
static int
is_around(const Context *c, const Scope *self, PyObject *scope)
{
    while (scope != NULL && PyObject_TypeCheck(scope, c->types->scope_type)) {
        if (scope == (const PyObject *)self) {
            return 1;
        }
        scope = ((Scope *)scope)->parent_scope;
    }
    return 0;
}

PyObject *
phase_enter(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    Scope *self = (Scope *)object;
    Context *c = context_of_object(object);
    Writer *writer = (Writer *)c->writer;
    if (writer == NULL) {
        return Py_NewRef(object);
    }
    if (self->is_left && !self->is_open) {
        return enter_again(c, object, (PyObject *)writer);
    }
    PyObject *held = NULL;
    if (c->is_interpreted || self->is_open || Py_TYPE(writer) != c->writer_class || writer->state != WRITER_FREE
        || PyContextVar_Get(c->variable, NULL, &held) < 0) {
        PyErr_Clear();
        return enter_in_python(c, object);
    }
    PyObject *parent = Py_NewRef(current_of(c, held)), *path = NULL;
    Py_DECREF(held);
    if (parent == Py_None
        || (is_open_in(c, parent, writer) && !(self->event_writer == (PyObject *)writer && is_around(c, self, parent)))) {
        path = find_path(c, parent, self->phase_name);
    }
    if (path == NULL) {
        Py_DECREF(parent);
        return enter_in_python(c, object);
    }
    /* Taken before anything is called: until then no other thread that shares this object comes in between. */
    self->is_open = 1;
    Py_INCREF(writer);
    Py_XSETREF(self->event_writer, Py_NewRef(writer));
    Py_XSETREF(self->phase_path, Py_NewRef(path));
    Py_XSETREF(self->parent_scope, parent);
    self->enter_sequence = 0;
    PyObject *thread = calling_thread(c);
    if (thread != NULL && c->inherits && parent != Py_None && ((Scope *)parent)->entering_thread != thread) {
        self->is_open = 0;
        Py_DECREF(writer);
        return enter_in_python(c, object);
    }
    if (thread != NULL) {
        Py_XSETREF(self->entering_thread, Py_NewRef(thread));
    }
    int result = thread == NULL ? -1 : begin(c, self, writer);
    if (result < 0) {
        result = clear_up(c, self, writer, c->note_begin);
    }
    Py_DECREF(writer);
    return result < 0 ? NULL : Py_NewRef(object);
}

/* Whether the phase is the innermost one of its context, as nearly all are that end. */
static int
is_innermost(Context *c, const Scope *self, const Writer *writer)
{
    PyObject *held, *parent = self->parent_scope;
    if (PyContextVar_Get(c->variable, NULL, &held) < 0) {
        PyErr_Clear();
        return 0;
    }
    int is_current = current_of(c, held) == (PyObject *)self;
    Py_DECREF(held);
    if (!is_current || self->device_state == NULL || (parent != NULL && parent != Py_None && !is_open_in(c, parent, writer))) {
        return 0;
    }
    if (c->inherits) {
        PyObject *thread = calling_thread(c);
        PyErr_Clear();
        return thread != NULL && thread == self->entering_thread;
    }
    return 1;
}

/* Those that hold a phase that nobody but its `with` can enter again: that, the open ones, and the context or the phase
 * left behind there.
 */
enum { HOLDERS = 3 };

static int
end(Context *c, Scope *self, Writer *writer, int is_by_with)
{
    Counters counters;
    long long now_ns;
    if (read_clock(c, writer, &now_ns) < 0) {
        return -1;
    }
    PyObject *device = Py_NewRef(self->device_state);
    int is_left = is_by_with && Py_REFCNT(self) == HOLDERS && !c->inherits, result = 0;
    if (!is_left) {
        result = set_current(c, self->parent_scope == NULL ? Py_None : self->parent_scope);
    }
    if (result == 0) {
        Moment moment = {writer->now == c->system_clock, now_ns, self->entered_ns};
        result = read_counters(c, device, &moment, &counters);
    }
    Py_DECREF(device);
    if (result < 0) {
        return -1;
    }
    if (!write_boundary(c, writer, self, 1, now_ns, &counters)) {
        result = write_in_python(c, writer, self, 1, now_ns, &counters);
    }
    Py_XDECREF(counters.object);
    if (result == 0) {
        self->is_left = (char)is_left;
        self->is_open = 0; /* last: from now on another thread may take this object */
    }
    return result;
}

/* Let go of all that a phase that is left behind has no more use for, so that its context keeps no session alive. */
static void
let_go(Scope *self)
{
    Py_CLEAR(self->event_writer);
    Py_CLEAR(self->phase_path);
    Py_CLEAR(self->device_state);
    Py_CLEAR(self->measure_marks);
    Py_CLEAR(self->reentry_of);
}

/* Call this with a phase that ended. -1 where the training's own exception goes on. */
static int
tell(PyObject *watch, Scope *self)
{
    Py_INCREF(watch);
    PyObject *result = unless_stack_ends(PyObject_CallOneArg(watch, (PyObject *)self), Py_None, NULL);
    Py_DECREF(watch);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Tell whoever watches the ends of phases, as capture/phase.py does. */
static int
tell_watch(Scope *self, Writer *writer)
{
    if (writer->watch_path != NULL && writer->watch_path != Py_None
        && (writer->watch_path != self->phase_path || --writer->watch_left > 0)) {
        return 0;
    }
    return tell(writer->watch, self);
}

PyObject *
phase_exit(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    return phase_leave(object, args, count, 0);
}

PyObject *
phase_leave(PyObject *object, PyObject *const *args, Py_ssize_t count, int is_by_with)
{
    Scope *self = (Scope *)object;
    Context *c = context_of_object(object);
    Writer *writer = (Writer *)self->event_writer;
    if (count == 3 && (writer == NULL || (PyObject *)writer == Py_None)) {
        Py_RETURN_NONE;
    }
    if (count != 3 || args[0] != Py_None || c->is_interpreted || !self->is_open || (PyObject *)writer != c->writer
        || Py_TYPE(writer) != c->writer_class || writer->state != WRITER_FREE || !is_innermost(c, self, writer)) {
        PyObject *all[4] = {object, NULL, NULL, NULL};
        for (Py_ssize_t index = 0; index < count && index < 3; index++) {
            all[index + 1] = args[index];
        }
        PyObject *result = PyObject_Vectorcall(c->exit_twin, all, (size_t)(count < 3 ? count + 1 : 4), NULL);
        if (result == NULL && (result = unless_stack_ends(NULL, Py_None, count == 3 ? args[0] : NULL)) != NULL) {
            self->is_open = 0; /* the sampler writes its exit */
        }
        return result;
    }
    Py_INCREF(writer);
    int result = end(c, self, writer, is_by_with);
    if (result < 0) {
        result = clear_up(c, self, writer, c->note_end);
    }
    if (result == 0 && writer->watch != NULL && writer->watch != Py_None) {
        result = tell_watch(self, writer);
    }
    if (result == 0 && writer->asked != NULL && writer->asked != Py_None) {
        result = tell(writer->asked, self);
    }
    if (self->is_left) {
        let_go(self);
    }
    Py_DECREF(writer);
    if (result < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}
