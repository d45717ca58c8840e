/* What one plain boundary changes: the sums of its kind, the phases that are open, the counts of its device's allocator. */
#include "fold.h"

/* Keep the highest number of all at this slot. */
int
note_highest(PyObject *kind, Py_ssize_t offset, int64_t value)
{
    PyObject **highest = (PyObject **)((char *)kind + offset);
    long long before = *highest == NULL ? -1 : PyLong_AsLongLong(*highest);
    if (value <= before) {
        return PyErr_Occurred() ? -1 : 0;
    }
    PyObject *number = PyLong_FromLongLong(value);
    if (number == NULL || PyErr_Occurred()) {
        Py_XDECREF(number);
        return -1;
    }
    Py_XSETREF(*highest, number);
    return 0;
}

int
note_allocated(Fold *f, PyObject *kind, int64_t allocated)
{
    PyObject **highest = (PyObject **)((char *)kind + f->highest);
    long long before = *highest == NULL ? -1 : PyLong_AsLongLong(*highest);
    if (PyErr_Occurred()) {
        return -1;
    }
    if (allocated <= before) {
        return 0;
    }
    PyObject *number = PyLong_FromLongLong(allocated);
    if (number == NULL) {
        return -1;
    }
    Py_XSETREF(*highest, number);
    if (before >= 0) {
        return 0;
    }
    PyObject *untold = PyTuple_Pack(3, kind, f->label, f->knows_allocated ? Py_True : Py_False);
    int result = untold == NULL ? -1 : PyList_Append(f->untold, untold);
    Py_XDECREF(untold);
    return result;
}

/* Append numbers to the bytearray at this slot. */
static int
append_numbers(PyObject *kind, Py_ssize_t offset, Py_ssize_t count, const int64_t *values)
{
    PyObject *packed = slot_at(kind, offset);
    if (packed == NULL || !PyByteArray_CheckExact(packed)) {
        PyErr_SetString(PyExc_TypeError, "no bytearray");
        return -1;
    }
    Py_ssize_t size = PyByteArray_GET_SIZE(packed), more = count * (Py_ssize_t)sizeof *values;
    if (PyByteArray_Resize(packed, size + more) < 0) {
        return -1;
    }
    memcpy(PyByteArray_AS_STRING(packed) + size, values, (size_t)more);
    return 0;
}

static int
done(PyObject *result)
{
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int
note_exit(Fold *f, PyObject *kind, const Plain *event, PyObject *scope, Py_ssize_t at)
{
    static const char *const statuses[] = {"ok", "error", "abandoned"};
    PyObject *entry = PyDict_GetItemWithError(f->opened, scope);
    int was_entered = entry != NULL && PyTuple_Check(entry) && PyTuple_GET_SIZE(entry) == 3
        && PyTuple_GET_ITEM(entry, 2) == Py_True;
    if ((entry == NULL && PyErr_Occurred()) || (entry != NULL && PyDict_DelItem(f->opened, scope) < 0)) {
        return -1;
    }
    if (!was_entered && done(PyObject_CallMethod(f->spans, "ended_unentered", "O", scope)) < 0) {
        return -1;
    }
    int64_t duration_ns = event->has_duration ? event->duration_ns : 0;
    int has_delta = event->has_delta && f->knows_allocated;
    if (append_numbers(kind, f->durations, 1, &duration_ns) < 0
        || (has_delta && append_numbers(kind, f->deltas, 1, &event->allocated_delta) < 0)) {
        return -1;
    }
    PyObject *node = slot_at(kind, f->node);
    if (event->has_peak
        && done(PyObject_CallMethod(node, "measured", "LO", (long long)event->peak, f->label)) < 0) {
        return -1;
    }
    if (event->status != STATUS_OK
        && done(PyObject_CallMethod(node, "went_wrong", "s", statuses[event->status])) < 0) {
        return -1;
    }
    if (!f->wants_ends || !f->knows_allocated) {
        return 0;
    }
    const int64_t told[] = {at, event->allocated, has_delta ? event->allocated_delta : 0, event->time_ns, duration_ns};
    return append_numbers(kind, f->ends, 5, told);
}

int
note_enter(Fold *f, PyObject *kind, const Plain *event, PyObject *scope)
{
    PyObject *path = slot_at(kind, f->path);
    if (f->is_first) {
        PyObject *is_first = PyObject_GetAttrString(f->spans, "is_first");
        if (is_first == NULL) {
            return -1;
        }
        f->is_first = is_first == Py_True;
        Py_DECREF(is_first);
    }
    if (f->is_first || PyDict_GET_SIZE(f->opened) >= f->max_opened) {
        return done(PyObject_CallMethod(f->spans, "entered", "OOL", scope, path, (long long)event->time_ns));
    }
    PyObject *time = PyLong_FromLongLong(event->time_ns);
    PyObject *entry = time == NULL ? NULL : PyTuple_Pack(3, path, time, Py_True);
    Py_XDECREF(time);
    int result = entry == NULL ? -1 : PyDict_SetItem(f->opened, scope, entry);
    Py_XDECREF(entry);
    return result;
}

static int
has_same_parent(const Fold *f, const Plain *event)
{
    if (event->has_parent != f->has_last_parent || !event->has_parent) {
        return event->has_parent == f->has_last_parent;
    }
    return f->is_lines ? is_same(event->parent_id, f->last_parent_id) : event->parent == f->last_parent;
}

/* The same parent twice in a row says nothing new. */
int
note_parent(Fold *f, PyObject *kind, const Plain *event)
{
    if (has_same_parent(f, event)) {
        return 0;
    }
    f->has_last_parent = event->has_parent;
    f->last_parent = event->parent;
    f->last_parent_id = event->parent_id;
    if (!event->has_parent) {
        return 0;
    }
    PyObject *parent = f->is_lines ? text_of(event->parent_id) : PyLong_FromLongLong(event->parent);
    PyObject *path = slot_at(kind, f->path);
    int result = parent == NULL ? -1 : PyDict_Contains(f->opened, parent);
    if (result == 0) {
        PyObject *outer = PyTuple_Check(path) ? PyTuple_GetSlice(path, 0, Py_MAX(PyTuple_GET_SIZE(path) - 1, 0)) : NULL;
        result = outer == NULL
            ? -1
            : done(PyObject_CallMethod(f->spans, "seen_open", "OOL", parent, outer, (long long)event->time_ns));
        Py_XDECREF(outer);
    }
    Py_XDECREF(parent);
    return result < 0 ? -1 : 0;
}

/* Add to one of the counts of a kind. */
static int
add_risen(PyObject *kind, Py_ssize_t offset, int which, int64_t by)
{
    PyObject *risen = slot_at(kind, offset);
    if (risen == NULL || !PyList_Check(risen) || PyList_GET_SIZE(risen) != COUNTS) {
        PyErr_SetString(PyExc_TypeError, "no counts");
        return -1;
    }
    PyObject *more = PyLong_FromLongLong(by);
    PyObject *sum = more == NULL ? NULL : PyNumber_Add(PyList_GET_ITEM(risen, which), more);
    Py_XDECREF(more);
    return sum == NULL ? -1 : PyList_SetItem(risen, which, sum);
}

static int
note_count(Fold *f, PyObject *newest, PyObject *kind, const Plain *event, int which)
{
    PyObject *before = PyList_GET_ITEM(newest, which);
    int64_t count = event->counts[which], old = before == Py_None ? -1 : PyLong_AsLongLong(before);
    if (PyErr_Occurred()) {
        return -1;
    }
    if (count <= old) {
        return 0;
    }
    PyObject *number = PyLong_FromLongLong(count);
    if (number == NULL || PyList_SetItem(newest, which, number) < 0 || old < 0) {
        return PyErr_Occurred() ? -1 : 0;
    }
    return add_risen(kind, event->is_exit ? f->risen : f->risen_outside, which, count - old);
}

int
note_counts(Fold *f, PyObject *newest, PyObject *kind, const Plain *event)
{
    if (!PyList_Check(newest) || PyList_GET_SIZE(newest) != COUNTS) {
        PyErr_SetString(PyExc_TypeError, "no counts");
        return -1;
    }
    for (int which = 0; which < COUNTS; which++) {
        if (event->has_count[which] && note_count(f, newest, kind, event, which) < 0) {
            return -1;
        }
    }
    if (f->note_retries == Py_None || !event->has_count[0]) {
        return 0;
    }
    return done(PyObject_CallFunction(f->note_retries, "OL", f->label, (long long)event->counts[0]));
}
