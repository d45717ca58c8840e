/* What the allocator of a device counts, as the boundaries of a summary tell it. */
#include "fold.h"

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
    return 0;
}
