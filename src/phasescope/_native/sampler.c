/* The sampler's object: its slots, and the wait of its thread, in which the ticks of the core fall due. */
#include "reading.h"
#include "sampler.h"

/* _tick_in_core(late_ns): whether the tick was done. */
static PyObject *
sampler_tick(Sampler *self, PyObject *late)
{
    long long late_ns;
    if (!is_number(late, &late_ns)) {
        PyErr_Clear();
        Py_RETURN_FALSE;
    }
    return PyBool_FromLong(tick_now(self, late_ns));
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
