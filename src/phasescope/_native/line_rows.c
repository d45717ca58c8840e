/* Rows of a table from the lines of a recording: those of plain boundaries without an object for any of them. */
#include "batch.h"
#include "rows.h"

enum { LONGEST_ID = 1024, MOST_DIGITS = 18 };

typedef struct {
    Rows rows;
    PyObject *form;
    Slice prefix; /* begins the ids of the session's phases */
} LineRows;

/* The number in a phase's id, as recordings/columns.py takes it: what is not one of this session's is null. */
static int
take_link(Slice id, Slice prefix, int64_t *number)
{
    if (id.size <= prefix.size || id.size > prefix.size + MOST_DIGITS || memcmp(id.data, prefix.data, prefix.size) != 0) {
        return 0;
    }
    *number = 0;
    for (size_t at = prefix.size; at < id.size; at++) {
        if (id.data[at] < '0' || id.data[at] > '9') {
            return 0;
        }
        *number = 10 * *number + (id.data[at] - '0');
    }
    return 1;
}

/* Whether its metadata are the line's text as it stands there, also for recordings/row_batches.py. */
static int
is_usual(const LineText *text, const Plain *event)
{
    static const char key[] = "\"metadata\":";
    if (event->has_error_type || (event->is_exit && event->status != STATUS_OK) || event->scope_id.size > LONGEST_ID
        || event->parent_id.size > LONGEST_ID || memchr(text->metadata.data, '\\', text->metadata.size) != NULL) {
        return 0;
    }
    for (size_t at = 0; event->has_attributes && at + sizeof key - 1 <= text->metadata.size; at++) {
        if (memcmp(text->metadata.data + at, key, sizeof key - 1) == 0) {
            return 0;
        }
    }
    return 1;
}

/* Have Python add a line. Where it is the first of its kind, the next ones have its place. 1: it belongs to other rows. */
static int
add_whole(LineRows *r, Slice line, const Plain *learnt)
{
    PyObject *kinds = learnt == NULL ? NULL : Py_NewRef(PyTuple_GET_ITEM(r->rows.of_device, learnt->is_exit));
    rows_forget(&r->rows);
    PyObject *told = PyObject_CallFunction(r->rows.add_event, "y#", line.data, (Py_ssize_t)line.size);
    int result = told == NULL ? -1 : told == Py_False ? 1 : rows_add_told(&r->rows, told);
    if (result == 0 && kinds != NULL && told != Py_None) {
        PyObject *path = PyBytes_FromStringAndSize((const char *)learnt->path.data, (Py_ssize_t)learnt->path.size);
        result = path == NULL ? -1 : PyDict_SetItem(kinds, path, PyTuple_GET_ITEM(told, 0));
        Py_XDECREF(path);
    }
    Py_XDECREF(kinds);
    Py_XDECREF(told);
    return result;
}

static int
take_boundary(LineRows *r, Slice line, const LineText *text, Plain *event)
{
    PyObject *kinds, *kind = rows_kind(&r->rows, event, &kinds);
    if (kind == NULL) {
        return PyErr_Occurred() ? -1 : add_whole(r, line, event);
    }
    if (!PyLong_CheckExact(kind)) {
        PyErr_SetString(PyExc_TypeError, "no kind");
        return -1;
    }
    if (kinds != NULL) {
        rows_remember(&r->rows, event, kind);
    }
    if (rows_room(&r->rows, text->metadata.size) < 0) {
        return -1;
    }
    int has_entry = take_link(event->scope_id, r->prefix, &event->scope);
    event->has_parent = event->has_parent && take_link(event->parent_id, r->prefix, &event->parent);
    Row row = row_of(event);
    row.is_known[ENTRY] = has_entry;
    row.place = PyLong_AsLong(kind);
    if (PyErr_Occurred()) {
        return -1;
    }
    put(rows_buffer(&r->rows, METADATA) + r->rows.text_size, text->metadata.data, text->metadata.size);
    r->rows.text_size += (Py_ssize_t)text->metadata.size;
    rows_add(&r->rows, &row);
    return 0;
}

/* Take the lines from `start` on; gives the place of the first that was not taken, or -1 with an error. */
static Py_ssize_t
take_all(LineRows *r, Py_ssize_t start)
{
    Plain event;
    LineText text = {.source = {NULL, 0}};
    const unsigned char *begin = r->rows.data.buf, *end = begin + r->rows.data.len;
    for (const unsigned char *at = begin + start; at <= end;) {
        const unsigned char *next = memchr(at, '\n', (size_t)(end - at));
        Slice line = {at, (size_t)((next == NULL ? end : next) - at)};
        /* The form is looked at again: events that Python adds change it. */
        int is_plain = line_form(r->form, &text) && take_line(line.data, line.size, &text, &event) && is_usual(&text, &event);
        if (is_plain) {
            event.device = line_source(&text);
            event.thread = text.thread;
        }
        int result = is_plain ? take_boundary(r, line, &text, &event) : add_whole(r, line, NULL);
        if (result != 0) {
            return result < 0 ? -1 : at - begin;
        }
        at += line.size + 1;
    }
    return r->rows.data.len + 1;
}

/* add_line_rows(data, start, form, kinds, buffers, rows, text_size, prefix, add_event) -> (start, rows, text_size) */
static PyObject *
add_line_rows(PyObject *Py_UNUSED(module), PyObject *args)
{
    LineRows r = {.prefix = {NULL, 0}};
    PyObject *buffers;
    const char *prefix;
    Py_ssize_t prefix_size, start, rows, text_size;
    if (!PyArg_ParseTuple(
            args, "y*nO!O!O!nny#O", &r.rows.data, &start, &PyList_Type, &r.form, &PyDict_Type, &r.rows.kinds, &PyTuple_Type,
            &buffers, &rows, &text_size, &prefix, &prefix_size, &r.rows.add_event)) {
        return NULL;
    }
    r.prefix = (Slice){(const unsigned char *)prefix, (size_t)prefix_size};
    Py_ssize_t end = -1;
    if (start < 0 || start > r.rows.data.len) {
        PyErr_SetString(PyExc_ValueError, "no line begins there");
    }
    else if (rows_begin(&r.rows, buffers, rows, text_size) == 0) {
        end = take_all(&r, start);
    }
    rows_forget(&r.rows);
    PyBuffer_Release(&r.rows.data);
    return end < 0 ? NULL : Py_BuildValue("nnn", end, r.rows.rows, r.rows.text_size);
}

PyMethodDef line_row_functions[] = {
    {"add_line_rows", add_line_rows, METH_VARARGS, "Add a row for each of a recording's lines."},
    {NULL, NULL, 0, NULL},
};
