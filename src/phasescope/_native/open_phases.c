/* The phases that are open, in the order in which they were entered: a list whose links are in the phases themselves.
 * To enter and to leave a phase asks for no memory so, and computes no hash. Python uses it as the dict that it is for
 * the twin, as far as that goes.
 */
#include "core.h"

void
list_open(OpenPhases *self, Scope *scope)
{
    if (scope->listed_in == self) {
        return;
    }
    if (scope->listed_in != NULL) { /* of a session that is over */
        unlist_open(scope);
    }
    scope->listed_in = self;
    scope->before = self->last;
    *(self->last == NULL ? &self->first : &self->last->behind) = scope;
    self->last = scope;
    self->count++;
    Py_INCREF(scope);
}

void
unlist_open(Scope *scope)
{
    OpenPhases *self = scope->listed_in;
    *(scope->before == NULL ? &self->first : &scope->before->behind) = scope->behind;
    *(scope->behind == NULL ? &self->last : &scope->behind->before) = scope->before;
    scope->before = scope->behind = NULL;
    scope->listed_in = NULL;
    self->count--;
    Py_DECREF(scope);
}

static int
is_scope(OpenPhases *self, PyObject *object)
{
    const CoreState *state = PyType_GetModuleState(Py_TYPE(self));
    return PyObject_TypeCheck(object, state->scope_type);
}

static Py_ssize_t
open_length(OpenPhases *self)
{
    return self->count;
}

static int
open_contains(OpenPhases *self, PyObject *object)
{
    return is_scope(self, object) && ((Scope *)object)->listed_in == self;
}

/* open[phase] = None, and del open[phase]. */
static int
open_assign(OpenPhases *self, PyObject *object, PyObject *value)
{
    if (!is_scope(self, object)) {
        PyErr_SetString(PyExc_TypeError, "no phase");
        return -1;
    }
    if (value != NULL) {
        list_open(self, (Scope *)object);
        return 0;
    }
    if (((Scope *)object)->listed_in != self) {
        PyErr_SetObject(PyExc_KeyError, object);
        return -1;
    }
    unlist_open((Scope *)object);
    return 0;
}

/* Over those that are open now, whatever is entered and left meanwhile. */
static PyObject *
open_iter(OpenPhases *self)
{
    PyObject *phases = PyList_New(self->count);
    while (phases != NULL && PyList_GET_SIZE(phases) != self->count) { /* the collector ran, and a phase ended in it */
        Py_SETREF(phases, PyList_New(self->count));
    }
    if (phases == NULL) {
        return NULL;
    }
    Py_ssize_t place = 0;
    for (Scope *scope = self->first; scope != NULL; scope = scope->behind) {
        PyList_SET_ITEM(phases, place++, Py_NewRef(scope));
    }
    PyObject *result = PyObject_GetIter(phases);
    Py_DECREF(phases);
    return result;
}

static int
open_traverse(OpenPhases *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    for (Scope *scope = self->first; scope != NULL; scope = scope->behind) {
        Py_VISIT(scope);
    }
    return 0;
}

static int
open_clear(OpenPhases *self)
{
    while (self->first != NULL) {
        unlist_open(self->first);
    }
    return 0;
}

static void
open_dealloc(OpenPhases *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    open_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot open_slots[] = {
    {Py_mp_length, open_length},
    {Py_mp_ass_subscript, open_assign},
    {Py_sq_contains, open_contains},
    {Py_tp_iter, open_iter},
    {Py_tp_traverse, open_traverse},
    {Py_tp_clear, open_clear},
    {Py_tp_dealloc, open_dealloc},
    {Py_tp_doc, "The phases that are open, in the order in which they were entered; as the keys of a dict."},
    {0, NULL},
};

static PyType_Spec open_spec = {
    .name = "phasescope._native._core.OpenPhases",
    .basicsize = sizeof(OpenPhases),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = open_slots,
};

PyTypeObject *
make_open_type(PyObject *module)
{
    return (PyTypeObject *)PyType_FromModuleAndSpec(module, &open_spec, NULL);
}
