/* The creation of a phase: what `phase("forward", batch=8)` gives, and the type of it. */
#include "phase_context.h"

#include <math.h>

enum { MOST_ATTRIBUTES = 16, MOST_TEXT = 200 }; /* as capture/attributes.py has them */

static int
is_short_text(PyObject *object)
{
    return PyUnicode_CheckExact(object) && PyUnicode_IS_ASCII(object) && PyUnicode_GET_LENGTH(object) <= MOST_TEXT;
}

/* Whether an attribute's value stays as it is. */
static int
is_clean(PyObject *value)
{
    long long number;
    int overflow;
    if (value == Py_None || value == Py_True || value == Py_False) {
        return 1;
    }
    if (PyLong_CheckExact(value)) {
        number = PyLong_AsLongLongAndOverflow(value, &overflow);
        return !overflow && number > INT64_MIN;
    }
    if (PyFloat_CheckExact(value)) {
        return isfinite(PyFloat_AS_DOUBLE(value));
    }
    return is_short_text(value);
}

/* The attributes, where each of them stays as it is; NULL without an error where one does not. */
static PyObject *
clean_attributes(PyObject *const *values, PyObject *names)
{
    Py_ssize_t count = PyTuple_GET_SIZE(names);
    if (count > MOST_ATTRIBUTES) {
        return NULL;
    }
    for (Py_ssize_t index = 0; index < count; index++) {
        if (!is_short_text(PyTuple_GET_ITEM(names, index)) || !is_clean(values[index])) {
            return NULL;
        }
    }
    PyObject *attributes = PyDict_New();
    for (Py_ssize_t index = 0; attributes != NULL && index < count; index++) {
        if (PyDict_SetItem(attributes, PyTuple_GET_ITEM(names, index), values[index]) < 0) {
            Py_CLEAR(attributes);
        }
    }
    return attributes;
}

/* A phase without a name, as `tp_alloc` would give it. */
static Scope *
bare_phase(Context *c)
{
    if (c->spares == 0) {
        return (Scope *)c->compiled->tp_alloc(c->compiled, 0);
    }
    Scope *self = c->spare[--c->spares];
    PyObject_Init((PyObject *)self, c->compiled);
    memset((char *)self + sizeof(PyObject), 0, sizeof *self - sizeof(PyObject));
    PyObject_GC_Track(self);
    return self;
}

/* As scope_dealloc(), but that a phase may serve again. */
static void
phase_dealloc(PyObject *object)
{
    Context *c = context_of_object(object);
    PyTypeObject *type = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    Py_TRASHCAN_BEGIN(object, phase_dealloc)
    scope_clear(object);
    if (c->spares < MOST_SPARE) {
        c->spare[c->spares++] = (Scope *)object;
    }
    else {
        type->tp_free(object);
    }
    Py_DECREF(type);
    Py_TRASHCAN_END
}

static PyObject *
new_phase(Context *c, PyObject *name, PyObject *attributes)
{
    Scope *self = bare_phase(c);
    if (self != NULL) {
        self->phase_name = Py_NewRef(name);
        self->phase_attributes = Py_XNewRef(attributes);
    }
    return (PyObject *)self;
}

/* The class as Python calls it. */
static PyObject *
call_class(PyObject *type, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *positional = PyTuple_New(count), *named = names == NULL ? NULL : PyDict_New(), *result = NULL;
    if (positional == NULL || (names != NULL && named == NULL)) {
        goto done;
    }
    for (Py_ssize_t index = 0; index < count; index++) {
        PyTuple_SET_ITEM(positional, index, Py_NewRef(args[index]));
    }
    for (Py_ssize_t index = 0; names != NULL && index < PyTuple_GET_SIZE(names); index++) {
        if (PyDict_SetItem(named, PyTuple_GET_ITEM(names, index), args[count + index]) < 0) {
            goto done;
        }
    }
    result = Py_TYPE(type)->tp_call(type, positional, named);
done:
    Py_XDECREF(positional);
    Py_XDECREF(named);
    return result;
}

static Context *
context_of_class(PyObject *type)
{
    Context *context = contexts;
    while (context != NULL && (PyObject *)context->phase != type && (PyObject *)context->prepared != type) {
        context = context->next;
    }
    return context;
}

PyObject *
phase_call(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *names)
{
    Context *c = context_of_class(type);
    Py_ssize_t count = PyVectorcall_NARGS(nargsf);
    if (c != NULL && count == 1 && PyUnicode_CheckExact(args[0])) {
        if (names == NULL || PyTuple_GET_SIZE(names) == 0) {
            return new_phase(c, args[0], NULL);
        }
        PyObject *attributes = clean_attributes(args + 1, names);
        if (attributes != NULL) {
            PyObject *self = new_phase(c, args[0], attributes);
            Py_DECREF(attributes);
            return self;
        }
        PyErr_Clear();
    }
    return call_class(type, args, count, names);
}

/* PreparedPhase(name, attributes, reentry_of=None), of a name that is text and attributes that are clean. */
PyObject *
prepared_call(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *names)
{
    Context *c = context_of_class(type);
    Py_ssize_t count = PyVectorcall_NARGS(nargsf);
    if (c != NULL && names == NULL && (count == 2 || count == 3) && PyUnicode_CheckExact(args[0])) {
        PyObject *self = new_phase(c, args[0], args[1]);
        if (self != NULL && count == 3) {
            ((Scope *)self)->reentry_of = Py_NewRef(args[2]);
        }
        return self;
    }
    return call_class(type, args, count, names);
}

static PyMethodDef compiled_methods[] = {
    {"__enter__", phase_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))phase_exit, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

/* What pickle compares with the class by which an object says it is to be made again. */
static PyObject *
phase_class(PyObject *object, void *Py_UNUSED(closure))
{
    return Py_NewRef(context_of_object(object)->phase);
}

static PyGetSetDef compiled_properties[] = {
    {"__class__", phase_class, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot compiled_slots[] = {
    {Py_tp_getset, compiled_properties},
    {Py_tp_methods, compiled_methods},
    {Py_tp_traverse, scope_traverse},
    {Py_tp_clear, scope_clear},
    {Py_tp_dealloc, phase_dealloc},
    {0, NULL},
};

PyType_Spec compiled_spec = {
    .name = "phasescope.capture.phase.phase",
    .basicsize = sizeof(Scope),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = compiled_slots,
};
