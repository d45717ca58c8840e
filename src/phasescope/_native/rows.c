/* Rows of a table from a ring's payloads: the figures of plain boundaries straight into buffers that pyarrow takes, and
 * their metadata as JSON text. What is not plain, or the first of its kind, is asked for in Python; see
 * recordings/packed_rows.py, whose names are these.
 */
#include "core.h"
#include "plain.h"

enum { REMEMBERED = 64, FIGURES = 12, MAYBE = 8, BUFFERS = 3 + FIGURES + MAYBE };
enum { PLACES = 0, FIRST_FIGURE = 1, FIRST_BITMAP = 1 + FIGURES, OFFSETS = BUFFERS - 2, METADATA = BUFFERS - 1 };

/* The figures in the order of their buffers; of those that may be unknown, which bitmap has them, or -1. */
enum { TIMESTAMP, ALLOCATED, RESERVED, ACTIVE, INACTIVE, CHANGE, DURATION, DELTA, PEAK, SEQUENCE, ENTRY, PARENT };
static const int bitmap_of[FIGURES] = {-1, -1, -1, 0, 1, -1, 2, 3, 4, 5, 6, 7};

typedef struct {
    long place;
    int64_t figures[FIGURES];
    int is_known[FIGURES];
} Row;

typedef struct {
    PyObject *payloads, *kinds, *find_kind, *add_event;
    PyObject *buffers[BUFFERS];
    Py_ssize_t rows, room, text_size;
    Slice prefix, device, thread;
    PyObject *of_device; /* the kinds entered, and those ended */
    struct {
        Slice path;
        PyObject *kind;
    } remembered[2][REMEMBERED];
} Rows;

static unsigned char *
buffer(Rows *r, int which)
{
    return (unsigned char *)PyByteArray_AS_STRING(r->buffers[which]);
}

static int
is_equal(Slice one, Slice other)
{
    return one.data != NULL && one.size == other.size && memcmp(one.data, other.data, one.size) == 0;
}

static int
resize(Rows *r, Py_ssize_t rows)
{
    const Py_ssize_t bitmap = (rows + 7) / 8;
    for (int which = 0; which < METADATA; which++) {
        Py_ssize_t size = which == PLACES ? 4 * rows
            : which == OFFSETS            ? 4 * (rows + 1)
            : which < FIRST_BITMAP        ? 8 * rows
                                          : bitmap;
        if (PyByteArray_Resize(r->buffers[which], size) < 0) {
            return -1;
        }
    }
    r->room = rows;
    return 0;
}

/* Whether the buffers are still as `resize` left them: Python code ran meanwhile. */
static int
are_sound(const Rows *r)
{
    for (int which = 0; which < METADATA; which++) {
        Py_ssize_t size = PyByteArray_GET_SIZE(r->buffers[which]);
        Py_ssize_t least = which == PLACES ? 4 * r->room
            : which == OFFSETS             ? 4 * (r->room + 1)
            : which < FIRST_BITMAP         ? 8 * r->room
                                           : (r->room + 7) / 8;
        if (size < least) {
            return 0;
        }
    }
    return PyByteArray_GET_SIZE(r->buffers[METADATA]) >= r->text_size;
}

/* Make room for `size` bytes of text. */
static int
text_room(Rows *r, size_t size)
{
    size_t needed = (size_t)r->text_size + size, has = (size_t)PyByteArray_GET_SIZE(r->buffers[METADATA]);
    if (needed > INT32_MAX) {
        PyErr_SetString(PyExc_OverflowError, "too much text for one table");
        return -1;
    }
    return needed <= has ? 0 : PyByteArray_Resize(r->buffers[METADATA], (Py_ssize_t)(needed + has / 4));
}

static void
store_number(unsigned char *at, int64_t value)
{
    memcpy(at, &value, sizeof value);
}

/* Add the row whose text ends at `text_size`. */
static void
add_row(Rows *r, const Row *row)
{
    int32_t place = (int32_t)row->place, end = (int32_t)r->text_size;
    memcpy(buffer(r, PLACES) + 4 * r->rows, &place, 4);
    memcpy(buffer(r, OFFSETS) + 4 * (r->rows + 1), &end, 4);
    for (int figure = 0; figure < FIGURES; figure++) {
        store_number(buffer(r, FIRST_FIGURE + figure) + 8 * r->rows, row->is_known[figure] ? row->figures[figure] : 0);
        if (bitmap_of[figure] >= 0) {
            unsigned char *bits = buffer(r, FIRST_BITMAP + bitmap_of[figure]) + r->rows / 8;
            int bit = 1 << r->rows % 8;
            *bits = (unsigned char)(row->is_known[figure] ? *bits | bit : *bits & ~bit);
        }
    }
    r->rows++;
}

static unsigned char *
put(unsigned char *at, const void *text, size_t size)
{
    memcpy(at, text, size);
    return at + size;
}

#define PUT(at, text) put(at, text, sizeof text - 1)

static unsigned char *
put_number(unsigned char *at, int64_t value)
{
    unsigned char digits[20];
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    int count = 0;
    do {
        digits[count++] = (unsigned char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (value < 0) {
        *at++ = '-';
    }
    while (count > 0) {
        *at++ = digits[--count];
    }
    return at;
}

static unsigned char *
put_bytes(unsigned char *at, PyObject *bytes)
{
    return put(at, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
}

/* The text of a boundary's metadata: what its kind has in common, with its own numbers. */
static int
put_metadata(Rows *r, PyObject *kind, const Plain *event)
{
    enum { NUMBERS = 10 * 24, NAMES = 256 };
    PyObject *before = PyTuple_GET_ITEM(kind, 1), *head = PyTuple_GET_ITEM(kind, 2), *between = PyTuple_GET_ITEM(kind, 3);
    size_t size = (size_t)(PyBytes_GET_SIZE(before) + PyBytes_GET_SIZE(head) + PyBytes_GET_SIZE(between));
    if (text_room(r, size + r->prefix.size + NUMBERS + NAMES) < 0) {
        return -1;
    }
    unsigned char *at = put_bytes(buffer(r, METADATA) + r->text_size, before);
    for (int which = 0; which < COUNTS; which++) {
        if (event->has_count[which]) {
            at = put(PUT(at, "\""), count_names[which], strlen(count_names[which]));
            at = PUT(put_number(PUT(at, "\":"), event->counts[which]), ",");
        }
    }
    at = put_number(put_bytes(at, head), event->has_scope ? event->scope : event->sequence);
    at = PUT(at, "\",\"parent_scope_id\":");
    if (event->has_parent) {
        at = put_number(put(at, r->prefix.data, r->prefix.size), event->parent);
        at = PUT(at, "\"");
    }
    else {
        at = PUT(at, "null");
    }
    at = put_number(put_bytes(at, between), event->sequence);
    if (event->is_exit) {
        at = PUT(put_number(PUT(at, ",\"duration_ns\":"), event->duration_ns), ",\"status\":\"ok\"");
        at = event->has_delta ? put_number(PUT(at, ",\"allocated_delta_bytes\":"), event->allocated_delta) : at;
        at = event->has_peak ? put_number(PUT(at, ",\"peak_allocated_bytes\":"), event->peak) : at;
    }
    at = PUT(at, "}}");
    r->text_size = at - buffer(r, METADATA);
    return 0;
}

static int
take_figure(PyObject *value, int64_t *figure, int *is_known)
{
    *is_known = value != Py_None;
    *figure = *is_known ? PyLong_AsLongLong(value) : 0;
    return PyErr_Occurred() ? -1 : 0;
}

/* Have Python add a whole event: it gives the row's place, figures and metadata, or None where there is none. */
static int
add_whole(Rows *r, Py_ssize_t at, const Plain *learnt)
{
    PyObject *told = learnt == NULL
        ? PyObject_CallFunction(r->add_event, "n", at)
        : PyObject_CallFunction(
              r->add_event, "ny#y#", at, learnt->thread.data, (Py_ssize_t)learnt->thread.size, learnt->path.data,
              (Py_ssize_t)learnt->path.size);
    if (told == NULL || told == Py_None) {
        Py_XDECREF(told);
        return told == NULL ? -1 : 0;
    }
    Row row;
    PyObject *text = PyTuple_Check(told) && PyTuple_GET_SIZE(told) == 2 + FIGURES ? PyTuple_GET_ITEM(told, 1 + FIGURES) : NULL;
    int result = -1;
    if (text == NULL || !PyBytes_CheckExact(text) || !are_sound(r)) {
        PyErr_SetString(PyExc_TypeError, "no row");
        goto done;
    }
    row.place = PyLong_AsLong(PyTuple_GET_ITEM(told, 0));
    if (PyErr_Occurred()) {
        goto done;
    }
    for (int figure = 0; figure < FIGURES; figure++) {
        if (take_figure(PyTuple_GET_ITEM(told, 1 + figure), &row.figures[figure], &row.is_known[figure]) < 0) {
            goto done;
        }
    }
    if (text_room(r, (size_t)PyBytes_GET_SIZE(text)) < 0) {
        goto done;
    }
    r->text_size = put_bytes(buffer(r, METADATA) + r->text_size, text) - buffer(r, METADATA);
    add_row(r, &row);
    result = 0;
done:
    Py_DECREF(told);
    return result;
}

static void
forget(Rows *r)
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

static int
find_device(Rows *r, const Plain *event)
{
    if (is_equal(r->device, event->device) && is_equal(r->thread, event->thread)) {
        return 0;
    }
    forget(r);
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
    r->of_device = Py_NewRef(found);
    r->device = event->device;
    r->thread = event->thread;
    return 0;
}

static int
is_kind(PyObject *kind)
{
    return PyTuple_CheckExact(kind) && PyTuple_GET_SIZE(kind) == 4 && PyLong_CheckExact(PyTuple_GET_ITEM(kind, 0))
        && PyBytes_CheckExact(PyTuple_GET_ITEM(kind, 1)) && PyBytes_CheckExact(PyTuple_GET_ITEM(kind, 2))
        && PyBytes_CheckExact(PyTuple_GET_ITEM(kind, 3));
}

/* The kind of this boundary, borrowed; NULL where Python does not know it yet, or with an error. */
static PyObject *
find_kind(Rows *r, const Plain *event)
{
    if (find_device(r, event) < 0) {
        return NULL;
    }
    Slice path = event->path;
    size_t place = (path.size * 31 + path.data[path.size - 1] + (path.size > 4 ? path.data[path.size - 4] * 7U : 0))
        % REMEMBERED;
    if (is_equal(r->remembered[event->is_exit][place].path, path)) {
        return r->remembered[event->is_exit][place].kind;
    }
    PyObject *kinds = PyTuple_GET_ITEM(r->of_device, event->is_exit), *key, *kind;
    key = PyBytes_FromStringAndSize((const char *)path.data, (Py_ssize_t)path.size);
    kind = key == NULL ? NULL : PyDict_GetItemWithError(kinds, key);
    if (key != NULL && kind == NULL && !PyErr_Occurred()) {
        kind = PyObject_CallFunction(
            r->find_kind, "y#y#Oi", event->device.data, (Py_ssize_t)event->device.size, event->thread.data,
            (Py_ssize_t)event->thread.size, key, event->is_exit);
        if (kind != NULL && (kind == Py_None || PyDict_SetItem(kinds, key, kind) < 0)) {
            Py_CLEAR(kind);
        }
        Py_XDECREF(kind); /* the dict has it */
    }
    Py_XDECREF(key);
    if (kind != NULL && !is_kind(kind)) {
        PyErr_SetString(PyExc_TypeError, "no kind");
        return NULL;
    }
    if (kind != NULL) {
        r->remembered[event->is_exit][place].path = path;
        r->remembered[event->is_exit][place].kind = kind;
    }
    return kind;
}

/* Whether there is nothing in it but what most boundaries have. */
static int
is_usual(const Plain *event)
{
    return !event->has_attributes && !event->has_error_type
        && (event->is_exit ? event->has_duration && event->status == STATUS_OK : !event->has_scope);
}

static int
take_boundary(Rows *r, Py_ssize_t at, const Plain *event)
{
    PyObject *kind = find_kind(r, event);
    if (kind == NULL) {
        if (PyErr_Occurred()) {
            return -1;
        }
        forget(r); /* Python may take other kinds out of the dict */
        return add_whole(r, at, event);
    }
    if (!are_sound(r)) {
        PyErr_SetString(PyExc_TypeError, "the buffers have changed");
        return -1;
    }
    Row row = {
        .place = PyLong_AsLong(PyTuple_GET_ITEM(kind, 0)),
        .figures = {event->time_ns, event->allocated, event->reserved, event->active, event->inactive, event->change,
                    event->duration_ns, event->allocated_delta, event->peak, event->sequence,
                    event->has_scope ? event->scope : event->sequence, event->parent},
        .is_known = {1, 1, 1, event->has_active, event->has_inactive, 1, event->has_duration, event->has_delta,
                     event->has_peak, 1, 1, event->has_parent},
    };
    if (PyErr_Occurred() || put_metadata(r, kind, event) < 0) {
        return -1;
    }
    add_row(r, &row);
    return 0;
}

static int
take_all(Rows *r)
{
    Plain event;
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(r->payloads); at++) {
        PyObject *payload = PyList_GET_ITEM(r->payloads, at);
        if (r->rows >= r->room) {
            PyErr_SetString(PyExc_TypeError, "the payloads have changed");
            return -1;
        }
        int is_plain = PyBytes_CheckExact(payload)
            && take_plain((const unsigned char *)PyBytes_AS_STRING(payload), (size_t)PyBytes_GET_SIZE(payload), &event);
        if ((is_plain && is_usual(&event) ? take_boundary(r, at, &event) : add_whole(r, at, NULL)) < 0) {
            return -1;
        }
    }
    return 0;
}

/* add_rows(payloads, kinds, buffers, prefix, find_kind, add_event); the buffers hold as many rows as before, and more. */
static PyObject *
add_rows(PyObject *Py_UNUSED(module), PyObject *args)
{
    Rows r = {.rows = 0};
    PyObject *buffers;
    const char *prefix;
    Py_ssize_t prefix_size;
    if (!PyArg_ParseTuple(
            args, "O!O!O!y#OO", &PyList_Type, &r.payloads, &PyDict_Type, &r.kinds, &PyTuple_Type, &buffers, &prefix,
            &prefix_size, &r.find_kind, &r.add_event)) {
        return NULL;
    }
    r.prefix = (Slice){(const unsigned char *)prefix, (size_t)prefix_size};
    for (int which = 0; which < BUFFERS; which++) {
        r.buffers[which] = PyTuple_GET_SIZE(buffers) == BUFFERS ? PyTuple_GET_ITEM(buffers, which) : NULL;
        if (r.buffers[which] == NULL || !PyByteArray_CheckExact(r.buffers[which])) {
            PyErr_SetString(PyExc_TypeError, "no buffers");
            return NULL;
        }
    }
    r.rows = r.room = PyByteArray_GET_SIZE(r.buffers[PLACES]) / 4;
    r.text_size = PyByteArray_GET_SIZE(r.buffers[METADATA]);
    if (!are_sound(&r) || resize(&r, r.rows + PyList_GET_SIZE(r.payloads)) < 0) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_TypeError, "no buffers");
        }
        return NULL;
    }
    int result = take_all(&r);
    forget(&r);
    if (result < 0 || resize(&r, r.rows) < 0 || PyByteArray_Resize(r.buffers[METADATA], r.text_size) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyMethodDef row_functions[] = {
    {"add_rows", add_rows, METH_VARARGS, "Add a row for each of these payloads."},
    {NULL, NULL, 0, NULL},
};
