/* What a summary adds to the kinds of boundaries: the highest figures, and the numbers of each end. */
#include "fold.h"

static int
settle_kind(Fold *f, Kind *kind)
{
    int result = 0;
    for (int which = 0; which < MAXIMA; which++) {
        PyObject **slot = (PyObject **)((char *)kind->kind + f->maxima[which]), *number;
        if (kind->is_higher[which]) {
            number = PyLong_FromLongLong(kind->maxima[which]);
            result = number == NULL ? -1 : result;
            if (number != NULL) {
                Py_XSETREF(*slot, number);
            }
        }
    }
    for (int which = 0; which < GROWING; which++) {
        Growing *growing = &kind->growing[which];
        if (growing->bytes != NULL && PyByteArray_Resize(growing->bytes, growing->used) < 0) {
            result = -1;
        }
        Py_CLEAR(growing->bytes);
    }
    Py_CLEAR(kind->kind);
    kind->path = (Slice){NULL, 0};
    return result;
}

int
settle_kinds(Fold *f)
{
    int result = 0;
    for (int place = 0; place < REMEMBERED_KINDS; place++) {
        if (f->remembered[place].kind != NULL && settle_kind(f, &f->remembered[place]) < 0) {
            result = -1;
        }
    }
    return result;
}

static int
remember(Fold *f, Kind *kind, Slice path, PyObject *found)
{
    if (kind->kind != NULL && settle_kind(f, kind) < 0) {
        return -1;
    }
    memset(kind, 0, sizeof *kind);
    for (int which = 0; which < MAXIMA; which++) {
        PyObject *number = slot_at(found, f->maxima[which]);
        kind->maxima[which] = number == NULL ? -1 : PyLong_AsLongLong(number);
        if (PyErr_Occurred()) {
            return -1;
        }
    }
    kind->path = path;
    kind->kind = Py_NewRef(found);
    return 0;
}

Kind *
find_kind(Fold *f, Slice path)
{
    if (f->kinds == NULL) {
        return NULL;
    }
    size_t place = (path.size * 31 + path.data[path.size - 1] + (path.size > 4 ? path.data[path.size - 4] * 7U : 0))
        % REMEMBERED_KINDS;
    Kind *kind = &f->remembered[place];
    if (is_same(kind->path, path)) {
        return kind;
    }
    PyObject *key = bytes_of(path);
    PyObject *found = key == NULL ? NULL : PyDict_GetItemWithError(f->kinds, key);
    Py_XDECREF(key);
    if (found == NULL) {
        return NULL;
    }
    if (Py_TYPE(found) != f->kind_class) {
        PyErr_SetString(PyExc_TypeError, "no kind");
        return NULL;
    }
    return remember(f, kind, path, found) < 0 ? NULL : kind;
}

static void
note_highest(Kind *kind, int which, int64_t value)
{
    if (value > kind->maxima[which]) {
        kind->maxima[which] = value;
        kind->is_higher[which] = 1;
    }
}

int
note_maxima(Fold *f, Kind *kind, const Plain *event)
{
    int is_first = kind->maxima[HIGHEST] < 0;
    note_highest(kind, HIGHEST, event->allocated);
    note_highest(kind, RESERVED, event->reserved);
    note_highest(kind, SLACK, event->reserved - event->allocated);
    if (!is_first) {
        return 0;
    }
    PyObject *untold = PyTuple_Pack(3, kind->kind, f->label, f->knows_allocated ? Py_True : Py_False);
    int result = untold == NULL ? -1 : PyList_Append(f->untold, untold);
    Py_XDECREF(untold);
    return result;
}

static int
append_numbers(Fold *f, Kind *kind, int which, int count, const int64_t *values)
{
    enum { ROOM = 64 * sizeof *values };
    Growing *growing = &kind->growing[which];
    if (growing->bytes == NULL) {
        PyObject *bytes = slot_at(kind->kind, f->growing[which]);
        if (bytes == NULL || !PyByteArray_CheckExact(bytes)) {
            PyErr_SetString(PyExc_TypeError, "no bytearray");
            return -1;
        }
        *growing = (Growing){Py_NewRef(bytes), PyByteArray_GET_SIZE(bytes)};
    }
    Py_ssize_t used = growing->used + count * (Py_ssize_t)sizeof *values;
    if (used > PyByteArray_GET_SIZE(growing->bytes) && PyByteArray_Resize(growing->bytes, used + (Py_ssize_t)ROOM) < 0) {
        return -1;
    }
    memcpy(PyByteArray_AS_STRING(growing->bytes) + growing->used, values, (size_t)count * sizeof *values);
    growing->used = used;
    return 0;
}

int
note_ended(Fold *f, Kind *kind, const Plain *event, Py_ssize_t at)
{
    static const char *const statuses[] = {"ok", "error", "abandoned"};
    int64_t duration_ns = event->has_duration ? event->duration_ns : 0;
    int has_delta = event->has_delta && f->knows_allocated;
    if (append_numbers(f, kind, DURATIONS, 1, &duration_ns) < 0
        || (has_delta && append_numbers(f, kind, DELTAS, 1, &event->allocated_delta) < 0)) {
        return -1;
    }
    if (f->wants_ends && f->knows_allocated) {
        const int64_t told[] = {at, event->allocated, has_delta ? event->allocated_delta : 0, event->time_ns, duration_ns};
        if (append_numbers(f, kind, ENDS, 5, told) < 0) {
            return -1;
        }
    }
    PyObject *node = slot_at(kind->kind, f->node);
    if (event->has_peak
        && done(PyObject_CallMethod(node, "measured", "LO", (long long)event->peak, f->label)) < 0) {
        return -1;
    }
    return event->status == STATUS_OK ? 0 : done(PyObject_CallMethod(node, "went_wrong", "s", statuses[event->status]));
}
