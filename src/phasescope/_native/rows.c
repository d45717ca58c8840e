/* The buffers of rows.h, and the kinds of boundaries that have a place in them. */
#include "rows.h"

/* Of the figures that may be unknown, which bitmap has them, or -1. */
static const int bitmap_of[FIGURES] = {-1, -1, -1, 0, 1, -1, 2, 3, 4, 5, 6, 7};

static Py_ssize_t
size_for(int which, Py_ssize_t rows)
{
    return which == PLACES ? 4 * rows : which == OFFSETS ? 4 * (rows + 1) : which < FIRST_BITMAP ? 8 * rows : (rows + 7) / 8;
}

/* Whether the buffers are still what they were taken for: Python code ran meanwhile. */
static int
are_sound(const Rows *r)
{
    for (int which = 0; which < METADATA; which++) {
        if (PyByteArray_GET_SIZE(r->buffers[which]) < size_for(which, r->room)) {
            return 0;
        }
    }
    return PyByteArray_GET_SIZE(r->buffers[METADATA]) >= r->text_size;
}

int
rows_begin(Rows *r, PyObject *buffers, Py_ssize_t rows, Py_ssize_t text_size)
{
    for (int which = 0; which < BUFFERS; which++) {
        r->buffers[which] = PyTuple_GET_SIZE(buffers) == BUFFERS ? PyTuple_GET_ITEM(buffers, which) : NULL;
        if (r->buffers[which] == NULL || !PyByteArray_CheckExact(r->buffers[which])) {
            PyErr_SetString(PyExc_TypeError, "no buffers");
            return -1;
        }
    }
    r->rows = r->room = rows;
    r->text_size = text_size;
    if (rows < 0 || text_size < 0 || !are_sound(r)) {
        PyErr_SetString(PyExc_TypeError, "no buffers");
        return -1;
    }
    r->room = PyByteArray_GET_SIZE(r->buffers[PLACES]) / 4;
    r->room = are_sound(r) ? r->room : rows;
    return 0;
}

/* Much at once: a buffer that grows in many small steps is copied from one place to the next, and leaves holes behind. */
static Py_ssize_t
more_than(Py_ssize_t size)
{
    return size + size / 2;
}

int
rows_room(Rows *r, size_t text)
{
    size_t needed = (size_t)r->text_size + text;
    if (!are_sound(r)) {
        PyErr_SetString(PyExc_TypeError, "the buffers have changed");
        return -1;
    }
    if (needed > INT32_MAX) {
        PyErr_SetString(PyExc_OverflowError, "too much text for one table");
        return -1;
    }
    if (needed > (size_t)PyByteArray_GET_SIZE(r->buffers[METADATA])
        && PyByteArray_Resize(r->buffers[METADATA], more_than((Py_ssize_t)needed)) < 0) {
        return -1;
    }
    if (r->rows < r->room) {
        return 0;
    }
    Py_ssize_t rows = more_than(r->rows) + 1024;
    for (int which = 0; which < METADATA; which++) {
        if (PyByteArray_Resize(r->buffers[which], size_for(which, rows)) < 0) {
            return -1;
        }
    }
    r->room = rows;
    return 0;
}

void
rows_add(Rows *r, const Row *row)
{
    int32_t place = (int32_t)row->place, end = (int32_t)r->text_size;
    memcpy(rows_buffer(r, PLACES) + 4 * r->rows, &place, 4);
    memcpy(rows_buffer(r, OFFSETS) + 4 * (r->rows + 1), &end, 4);
    for (int figure = 0; figure < FIGURES; figure++) {
        int64_t value = row->is_known[figure] ? row->figures[figure] : 0;
        memcpy(rows_buffer(r, FIRST_FIGURE + figure) + 8 * r->rows, &value, 8);
        if (bitmap_of[figure] >= 0) {
            unsigned char *bits = rows_buffer(r, FIRST_BITMAP + bitmap_of[figure]) + r->rows / 8;
            int bit = 1 << r->rows % 8;
            *bits = (unsigned char)(row->is_known[figure] ? *bits | bit : *bits & ~bit);
        }
    }
    r->rows++;
}

static int
take_figure(PyObject *value, int64_t *figure, int *is_known)
{
    *is_known = value != Py_None;
    *figure = *is_known ? PyLong_AsLongLong(value) : 0;
    return PyErr_Occurred() ? -1 : 0;
}

int
rows_add_told(Rows *r, PyObject *told)
{
    if (told == Py_None) {
        return 0;
    }
    Row row;
    PyObject *text = PyTuple_Check(told) && PyTuple_GET_SIZE(told) == 2 + FIGURES ? PyTuple_GET_ITEM(told, 1 + FIGURES) : NULL;
    if (text == NULL || !PyBytes_CheckExact(text)) {
        PyErr_SetString(PyExc_TypeError, "no row");
        return -1;
    }
    row.place = PyLong_AsLong(PyTuple_GET_ITEM(told, 0));
    if (PyErr_Occurred()) {
        return -1;
    }
    for (int figure = 0; figure < FIGURES; figure++) {
        if (take_figure(PyTuple_GET_ITEM(told, 1 + figure), &row.figures[figure], &row.is_known[figure]) < 0) {
            return -1;
        }
    }
    if (rows_room(r, (size_t)PyBytes_GET_SIZE(text)) < 0) {
        return -1;
    }
    r->text_size = put_bytes(rows_buffer(r, METADATA) + r->text_size, text) - rows_buffer(r, METADATA);
    rows_add(r, &row);
    return 0;
}

static int
is_equal(Slice one, Slice other)
{
    return one.data != NULL && one.size == other.size && memcmp(one.data, other.data, one.size) == 0;
}

void
rows_forget(Rows *r)
{
    memset(r->remembered, 0, sizeof r->remembered);
    r->device = r->thread = (Slice){NULL, 0};
    Py_CLEAR(r->of_device);
}

static PyObject *
joined(Slice one, Slice other)
{
    PyObject *both = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(one.size + other.size));
    if (both != NULL) {
        put(put((unsigned char *)PyBytes_AS_STRING(both), one.data, one.size), other.data, other.size);
    }
    return both;
}

/* Keep what it was found by. */
static void
keep_device(Rows *r, const Plain *event, PyObject *found)
{
    r->of_device = Py_NewRef(found);
    r->device = event->device;
    r->thread = event->thread;
    if (event->device.size <= LONGEST_KEY) {
        memcpy(r->device_bytes, event->device.data, event->device.size);
        r->device.data = r->device_bytes;
    }
}

static int
find_device(Rows *r, const Plain *event)
{
    if (is_equal(r->device, event->device) && is_equal(r->thread, event->thread)) {
        return 0;
    }
    rows_forget(r);
    PyObject *key = joined(event->device, event->thread), *found = NULL;
    if (key == NULL) {
        return -1;
    }
    found = PyDict_GetItemWithError(r->kinds, key);
    if (found == NULL && !PyErr_Occurred()) {
        found = Py_BuildValue("{}{}");
        if (found != NULL && PyDict_SetItem(r->kinds, key, found) < 0) {
            Py_CLEAR(found);
        }
        Py_XDECREF(found); /* the dict has it */
    }
    Py_DECREF(key);
    if (found == NULL || !PyTuple_CheckExact(found) || PyTuple_GET_SIZE(found) != 2
        || !PyDict_Check(PyTuple_GET_ITEM(found, 0)) || !PyDict_Check(PyTuple_GET_ITEM(found, 1))) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "no kinds");
        }
        return -1;
    }
    keep_device(r, event, found);
    return 0;
}

static size_t
place_of(Slice path)
{
    return (path.size * 31 + path.data[path.size - 1] + (path.size > 4 ? path.data[path.size - 4] * 7U : 0)) % REMEMBERED;
}

PyObject *
rows_kind(Rows *r, const Plain *event, PyObject **kinds)
{
    *kinds = NULL;
    if (find_device(r, event) < 0) {
        return NULL;
    }
    size_t place = place_of(event->path);
    if (is_equal(r->remembered[event->is_exit][place].path, event->path)) {
        return r->remembered[event->is_exit][place].kind;
    }
    *kinds = PyTuple_GET_ITEM(r->of_device, event->is_exit);
    PyObject *key = PyBytes_FromStringAndSize((const char *)event->path.data, (Py_ssize_t)event->path.size);
    PyObject *kind = key == NULL ? NULL : PyDict_GetItemWithError(*kinds, key);
    Py_XDECREF(key);
    return kind;
}

void
rows_remember(Rows *r, const Plain *event, PyObject *kind)
{
    size_t place = place_of(event->path);
    r->remembered[event->is_exit][place].path = event->path;
    r->remembered[event->is_exit][place].kind = kind;
}
