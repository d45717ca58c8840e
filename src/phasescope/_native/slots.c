/* The slots of an open phase and of the writer, as base classes of the Python classes that use them. */
#include "core.h"

Py_ssize_t
slot_offset(PyObject *type, const char *name)
{
    PyObject *found = PyObject_GetAttrString(type, name);
    if (found == NULL) {
        return -1;
    }
    Py_ssize_t offset = -1;
    if (Py_IS_TYPE(found, &PyMemberDescr_Type)) {
        const PyMemberDef *member = ((PyMemberDescrObject *)found)->d_member;
        if (member->type == T_OBJECT_EX) {
            offset = member->offset;
        }
    }
    Py_DECREF(found);
    if (offset < 0) {
        PyErr_Format(PyExc_TypeError, "%s is no slot of %R", name, type);
    }
    return offset;
}

static PyMemberDef scope_members[] = {
    {"phase_name", T_OBJECT_EX, offsetof(Scope, phase_name), 0, NULL},
    {"phase_attributes", T_OBJECT, offsetof(Scope, phase_attributes), 0, NULL},
    {"event_writer", T_OBJECT, offsetof(Scope, event_writer), 0, NULL},
    {"phase_path", T_OBJECT_EX, offsetof(Scope, phase_path), 0, NULL},
    {"parent_scope", T_OBJECT, offsetof(Scope, parent_scope), 0, NULL},
    {"entering_thread", T_OBJECT_EX, offsetof(Scope, entering_thread), 0, NULL},
    {"device_state", T_OBJECT_EX, offsetof(Scope, device_state), 0, NULL},
    {"measure_marks", T_OBJECT_EX, offsetof(Scope, measure_marks), 0, NULL},
    {"reentry_of", T_OBJECT, offsetof(Scope, reentry_of), 0, NULL},
    {"allocated_on_entry", T_LONGLONG, offsetof(Scope, allocated_on_entry), 0, NULL},
    {"entered_ns", T_LONGLONG, offsetof(Scope, entered_ns), 0, NULL},
    {"enter_sequence", T_LONGLONG, offsetof(Scope, enter_sequence), 0, NULL},
    {"mask_on_entry", T_INT, offsetof(Scope, mask_on_entry), 0, NULL},
    {"is_open", T_BOOL, offsetof(Scope, is_open), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

int
scope_traverse(PyObject *object, visitproc visit, void *arg)
{
    Scope *self = (Scope *)object;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->phase_name);
    Py_VISIT(self->phase_attributes);
    Py_VISIT(self->event_writer);
    Py_VISIT(self->phase_path);
    Py_VISIT(self->parent_scope);
    Py_VISIT(self->entering_thread);
    Py_VISIT(self->device_state);
    Py_VISIT(self->measure_marks);
    Py_VISIT(self->reentry_of);
    return 0;
}

int
scope_clear(PyObject *object)
{
    Scope *self = (Scope *)object;
    Py_CLEAR(self->phase_name);
    Py_CLEAR(self->phase_attributes);
    Py_CLEAR(self->event_writer);
    Py_CLEAR(self->phase_path);
    Py_CLEAR(self->parent_scope);
    Py_CLEAR(self->entering_thread);
    Py_CLEAR(self->device_state);
    Py_CLEAR(self->measure_marks);
    Py_CLEAR(self->reentry_of);
    return 0;
}

void
scope_dealloc(PyObject *object)
{
    Scope *self = (Scope *)object;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    /* A chain of parents may be as long as a recursion is deep. */
    Py_TRASHCAN_BEGIN(self, scope_dealloc)
    scope_clear(object);
    type->tp_free(self);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

static PyType_Slot scope_slots[] = {
    {Py_tp_members, scope_members},
    {Py_tp_traverse, scope_traverse},
    {Py_tp_clear, scope_clear},
    {Py_tp_dealloc, scope_dealloc},
    {Py_tp_doc, "The slots of a phase."},
    {0, NULL},
};

static PyType_Spec scope_spec = {
    .name = "phasescope._native._core.PhaseSlots",
    .basicsize = sizeof(Scope),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = scope_slots,
};

PyTypeObject *
make_scope_type(PyObject *module)
{
    return (PyTypeObject *)PyType_FromModuleAndSpec(module, &scope_spec, NULL);
}

static PyMemberDef writer_members[] = {
    {"now", T_OBJECT_EX, offsetof(Writer, now), 0, NULL},
    {"open", T_OBJECT_EX, offsetof(Writer, open), 0, NULL},
    {"ring", T_OBJECT_EX, offsetof(Writer, ring), 0, NULL},
    {"collectors", T_OBJECT_EX, offsetof(Writer, collectors), 0, NULL},
    {"watch", T_OBJECT, offsetof(Writer, watch), 0, NULL},
    {"watch_path", T_OBJECT, offsetof(Writer, watch_path), 0, NULL},
    {"watch_left", T_LONGLONG, offsetof(Writer, watch_left), 0, NULL},
    {"asked", T_OBJECT, offsetof(Writer, asked), 0, NULL},
    {"_sequence", T_LONGLONG, offsetof(Writer, sequence), 0, NULL},
    {"offset_ns", T_LONGLONG, offsetof(Writer, offset_ns), 0, NULL},
    {"_state", T_INT, offsetof(Writer, state), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static int
writer_traverse(Writer *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->now);
    Py_VISIT(self->open);
    Py_VISIT(self->ring);
    Py_VISIT(self->collectors);
    Py_VISIT(self->watch);
    Py_VISIT(self->watch_path);
    Py_VISIT(self->asked);
    return 0;
}

static int
writer_clear(Writer *self)
{
    Py_CLEAR(self->now);
    Py_CLEAR(self->open);
    Py_CLEAR(self->ring);
    Py_CLEAR(self->collectors);
    Py_CLEAR(self->watch);
    Py_CLEAR(self->watch_path);
    Py_CLEAR(self->asked);
    return 0;
}

static void
writer_dealloc(Writer *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    writer_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot writer_slots[] = {
    {Py_tp_members, writer_members},
    {Py_tp_traverse, writer_traverse},
    {Py_tp_clear, writer_clear},
    {Py_tp_dealloc, writer_dealloc},
    {Py_tp_doc, "The slots of an event writer that a phase boundary needs."},
    {0, NULL},
};

static PyType_Spec writer_spec = {
    .name = "phasescope._native._core.WriterSlots",
    .basicsize = sizeof(Writer),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = writer_slots,
};

PyTypeObject *
make_writer_type(PyObject *module)
{
    return (PyTypeObject *)PyType_FromModuleAndSpec(module, &writer_spec, NULL);
}
