/* Rows of a table from a ring's payloads: those of plain boundaries without an object for any of them. */
#include "batch.h"
#include "rows.h"

typedef struct {
    Rows rows;
    Py_buffer spans;
    PyObject *find_kind;
    Slice prefix; /* begins the ids of the session's phases */
} RingRows;

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

/* The text of a boundary's metadata: what its kind has in common, with its own numbers. */
static int
put_metadata(Rows *r, Slice prefix, PyObject *kind, const Plain *event)
{
    enum { NUMBERS = 10 * 24, NAMES = 256 };
    PyObject *before = PyTuple_GET_ITEM(kind, 1), *head = PyTuple_GET_ITEM(kind, 2), *between = PyTuple_GET_ITEM(kind, 3);
    size_t size = (size_t)(PyBytes_GET_SIZE(before) + PyBytes_GET_SIZE(head) + PyBytes_GET_SIZE(between));
    if (rows_room(r, size + prefix.size + NUMBERS + NAMES) < 0) {
        return -1;
    }
    unsigned char *at = put_bytes(rows_buffer(r, METADATA) + r->text_size, before);
    for (int which = 0; which < COUNTS; which++) {
        if (event->has_count[which]) {
            at = put(PUT(at, "\""), count_names[which], strlen(count_names[which]));
            at = PUT(put_number(PUT(at, "\":"), event->counts[which]), ",");
        }
    }
    at = put_number(put_bytes(at, head), event->has_scope ? event->scope : event->sequence);
    at = PUT(at, "\",\"parent_scope_id\":");
    if (event->has_parent) {
        at = put_number(put(at, prefix.data, prefix.size), event->parent);
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
    r->text_size = at - rows_buffer(r, METADATA);
    return 0;
}

static int
is_kind(PyObject *kind)
{
    return PyTuple_CheckExact(kind) && PyTuple_GET_SIZE(kind) == 4 && PyLong_CheckExact(PyTuple_GET_ITEM(kind, 0))
        && PyBytes_CheckExact(PyTuple_GET_ITEM(kind, 1)) && PyBytes_CheckExact(PyTuple_GET_ITEM(kind, 2))
        && PyBytes_CheckExact(PyTuple_GET_ITEM(kind, 3));
}

/* Whether there is nothing in it but what most boundaries have. */
static int
is_usual(const Plain *event)
{
    return !event->has_attributes && !event->has_error_type
        && (event->is_exit ? event->has_duration && event->status == STATUS_OK : !event->has_scope);
}

/* Have Python add a whole event. */
static int
add_whole(RingRows *r, Py_ssize_t at, const Plain *learnt)
{
    rows_forget(&r->rows);
    PyObject *told = learnt == NULL
        ? PyObject_CallFunction(r->rows.add_event, "n", at)
        : PyObject_CallFunction(
              r->rows.add_event, "ny#y#", at, learnt->thread.data, (Py_ssize_t)learnt->thread.size, learnt->path.data,
              (Py_ssize_t)learnt->path.size);
    int result = told == NULL ? -1 : rows_add_told(&r->rows, told);
    Py_XDECREF(told);
    return result;
}

/* Have Python find the kind of this boundary, borrowed; NULL where it does not know it yet, or with an error. */
static PyObject *
ask_for_kind(RingRows *r, const Plain *event, PyObject *kinds)
{
    PyObject *kind = PyObject_CallFunction(
        r->find_kind, "y#y#y#i", event->device.data, (Py_ssize_t)event->device.size, event->thread.data,
        (Py_ssize_t)event->thread.size, event->path.data, (Py_ssize_t)event->path.size, event->is_exit);
    PyObject *key = kind == NULL ? NULL : PyBytes_FromStringAndSize((const char *)event->path.data, (Py_ssize_t)event->path.size);
    if (kind != NULL && (key == NULL || kind == Py_None || PyDict_SetItem(kinds, key, kind) < 0)) {
        Py_CLEAR(kind);
    }
    Py_XDECREF(kind); /* the dict has it */
    Py_XDECREF(key);
    return kind;
}

static int
take_boundary(RingRows *r, Py_ssize_t at, const Plain *event)
{
    PyObject *kinds, *kind = rows_kind(&r->rows, event, &kinds);
    if (kind == NULL && kinds != NULL && !PyErr_Occurred()) {
        kind = ask_for_kind(r, event, kinds);
    }
    if (kind == NULL) {
        return PyErr_Occurred() ? -1 : add_whole(r, at, event);
    }
    if (!is_kind(kind)) {
        PyErr_SetString(PyExc_TypeError, "no kind");
        return -1;
    }
    if (kinds != NULL) {
        rows_remember(&r->rows, event, kind);
    }
    Row row = row_of(event);
    row.place = PyLong_AsLong(PyTuple_GET_ITEM(kind, 0));
    if (PyErr_Occurred() || put_metadata(&r->rows, r->prefix, kind, event) < 0) {
        return -1;
    }
    rows_add(&r->rows, &row);
    return 0;
}

static int
take_all(RingRows *r)
{
    Plain event;
    for (Py_ssize_t at = 0; at < r->spans.len / SPAN_BYTES; at++) {
        Slice payload = span_at(&r->rows.data, &r->spans, at);
        if (payload.data == NULL) {
            PyErr_SetString(PyExc_ValueError, "a payload is not in the data");
            return -1;
        }
        int is_plain = take_plain(payload.data, payload.size, &event) && is_usual(&event);
        if ((is_plain ? take_boundary(r, at, &event) : add_whole(r, at, NULL)) < 0) {
            return -1;
        }
    }
    return 0;
}

/* add_rows(data, payload_spans, kinds, buffers, rows, text_size, prefix, find_kind, add_event) -> (rows, text_size) */
static PyObject *
add_rows(PyObject *Py_UNUSED(module), PyObject *args)
{
    RingRows r = {.prefix = {NULL, 0}};
    PyObject *buffers;
    const char *prefix;
    Py_ssize_t prefix_size, rows, text_size;
    if (!PyArg_ParseTuple(
            args, "y*y*O!O!nny#OO", &r.rows.data, &r.spans, &PyDict_Type, &r.rows.kinds, &PyTuple_Type, &buffers, &rows,
            &text_size, &prefix, &prefix_size, &r.find_kind, &r.rows.add_event)) {
        return NULL;
    }
    r.prefix = (Slice){(const unsigned char *)prefix, (size_t)prefix_size};
    int result = rows_begin(&r.rows, buffers, rows, text_size) < 0 ? -1 : take_all(&r);
    rows_forget(&r.rows);
    PyBuffer_Release(&r.rows.data);
    PyBuffer_Release(&r.spans);
    return result < 0 ? NULL : Py_BuildValue("nn", r.rows.rows, r.rows.text_size);
}

PyMethodDef row_functions[] = {
    {"add_rows", add_rows, METH_VARARGS, "Add a row for each of a ring's payloads."},
    {NULL, NULL, 0, NULL},
};
