/* `__enter__` and `__exit__` as `with` finds them. Before Python 3.14 it binds both to the phase: two objects that are made
 * and ended again, a third of all that a phase does if there is no session. Here those that were ended serve again.
 */
#include "phase_context.h"

#if PY_VERSION_HEX < 0x030E0000

struct PhaseMethod;

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *phase;
    struct PhaseMethod *method; /* borrowed: it lives as long as the process */
} BoundMethod;

typedef struct PhaseMethod {
    PyObject_HEAD
    PyObject *plain; /* the method that the class would have else: whoever asks the class gets it */
    PyTypeObject *compiled, *bound_type;
    vectorcallfunc call;
    BoundMethod *spare[MOST_SPARE + 1];
    int spares;
} PhaseMethod;

/* What binding the plain method gives: in all but its call the bound one is like it. */
static PyObject *
plainly_bound(const BoundMethod *self)
{
    PyObject *plain = self->method->plain;
    return Py_TYPE(plain)->tp_descr_get(plain, self->phase, (PyObject *)Py_TYPE(self->phase));
}

static PyObject *
call_plainly(const BoundMethod *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *plain = plainly_bound(self);
    PyObject *result = plain == NULL ? NULL : PyObject_Vectorcall(plain, args, (size_t)count, names);
    Py_XDECREF(plain);
    return result;
}

static PyObject *
call_enter(PyObject *object, PyObject *const *args, size_t nargsf, PyObject *names)
{
    const BoundMethod *self = (const BoundMethod *)object;
    Py_ssize_t count = PyVectorcall_NARGS(nargsf);
    return count == 0 && names == NULL ? phase_enter(self->phase, NULL) : call_plainly(self, args, count, names);
}

static PyObject *
call_exit(PyObject *object, PyObject *const *args, size_t nargsf, PyObject *names)
{
    const BoundMethod *self = (const BoundMethod *)object;
    Py_ssize_t count = PyVectorcall_NARGS(nargsf);
    if (names != NULL) {
        return call_plainly(self, args, count, names);
    }
    return phase_leave(self->phase, args, count, Py_REFCNT(self) == 1);
}

static PyObject *
bound_getattr(PyObject *object, PyObject *name)
{
    PyObject *plain = plainly_bound((const BoundMethod *)object);
    PyObject *result = plain == NULL ? NULL : PyObject_GetAttr(plain, name);
    Py_XDECREF(plain);
    return result;
}

static PyObject *
bound_repr(PyObject *object)
{
    PyObject *plain = plainly_bound((const BoundMethod *)object);
    PyObject *result = plain == NULL ? NULL : PyObject_Repr(plain);
    Py_XDECREF(plain);
    return result;
}

static int
bound_traverse(BoundMethod *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->phase);
    return 0;
}

static void
bound_dealloc(BoundMethod *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject *phase = self->phase;
    PhaseMethod *method = self->method;
    PyObject_GC_UnTrack(self);
    self->phase = NULL;
    if (method->spares < MOST_SPARE) {
        method->spare[method->spares++] = self;
    }
    else {
        type->tp_free(self);
    }
    Py_DECREF(type);
    Py_DECREF(phase); /* last: it may end with it */
}

static PyMemberDef bound_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(BoundMethod, vectorcall), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot bound_slots[] = {
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_getattro, bound_getattr},
    {Py_tp_repr, bound_repr},
    {Py_tp_members, bound_members},
    {Py_tp_traverse, bound_traverse},
    {Py_tp_dealloc, bound_dealloc},
    {0, NULL},
};

static PyType_Spec bound_spec = {
    .name = "phasescope._native._core.BoundMethod",
    .basicsize = sizeof(BoundMethod),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = bound_slots,
};

static PyObject *
method_get(PhaseMethod *self, PyObject *phase, PyObject *type)
{
    if (phase == NULL || Py_TYPE(phase) != self->compiled) {
        return Py_TYPE(self->plain)->tp_descr_get(self->plain, phase, type);
    }
    BoundMethod *bound;
    if (self->spares > 0) {
        bound = self->spare[--self->spares];
        PyObject_Init((PyObject *)bound, self->bound_type);
    }
    else {
        bound = PyObject_GC_New(BoundMethod, self->bound_type);
        if (bound == NULL) {
            return NULL;
        }
        bound->vectorcall = self->call;
        bound->method = self;
    }
    bound->phase = Py_NewRef(phase);
    PyObject_GC_Track(bound);
    return (PyObject *)bound;
}

static PyObject *
method_call(PhaseMethod *self, PyObject *args, PyObject *kwargs)
{
    return PyObject_Call(self->plain, args, kwargs);
}

static PyObject *
method_getattr(PhaseMethod *self, PyObject *name)
{
    return PyObject_GetAttr(self->plain, name);
}

static PyObject *
method_repr(PhaseMethod *self)
{
    return PyObject_Repr(self->plain);
}

static PyType_Slot method_slots[] = {
    {Py_tp_descr_get, method_get},
    {Py_tp_call, method_call},
    {Py_tp_getattro, method_getattr},
    {Py_tp_repr, method_repr},
    {0, NULL},
};

static PyType_Spec method_spec = {
    .name = "phasescope._native._core.PhaseMethod",
    .basicsize = sizeof(PhaseMethod),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = method_slots,
};

/* Put one method in the place of the class's plain one. All that it needs lives as long as the process, as the class does. */
static int
replace_method(PyTypeObject *compiled, PyObject *method_type, PyObject *bound_type, const char *name, vectorcallfunc call)
{
    PyObject *plain = PyObject_GetAttrString((PyObject *)compiled, name);
    PhaseMethod *method = plain == NULL ? NULL : PyObject_New(PhaseMethod, (PyTypeObject *)method_type);
    if (method == NULL) {
        Py_XDECREF(plain);
        return -1;
    }
    method->plain = plain;
    method->compiled = compiled;
    method->bound_type = (PyTypeObject *)Py_NewRef(bound_type);
    method->call = call;
    method->spares = 0;
    return PyObject_SetAttrString((PyObject *)compiled, name, (PyObject *)method); /* and never let go of */
}

int
replace_methods(PyTypeObject *compiled)
{
    PyObject *method_type = PyType_FromSpec(&method_spec), *bound_type = PyType_FromSpec(&bound_spec);
    int result = method_type == NULL || bound_type == NULL
            || replace_method(compiled, method_type, bound_type, "__enter__", call_enter) < 0
            || replace_method(compiled, method_type, bound_type, "__exit__", call_exit) < 0
        ? -1
        : 0;
    Py_XDECREF(method_type);
    Py_XDECREF(bound_type);
    return result;
}

#else

int
replace_methods(PyTypeObject *compiled)
{
    (void)compiled; /* `with` binds nothing there */
    return 0;
}

#endif
