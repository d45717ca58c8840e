/* The summary of a ring, or of a recording's lines: what analysis/summary/packed_summary.py does with each plain boundary, without an object for it.
 *
 * It keeps the sums in that class's own objects, so either can go on where the other left off. An event that is not
 * plain, or is the first of its kind, is given back to it.
 */
#include "fold.h"
#include "line.h"

static int
note_newest(Fold *f)
{
    if (f->newest < 0 || f->label == NULL) {
        return 0;
    }
    PyObject *at = PyLong_FromSsize_t(f->newest);
    int result = at == NULL ? -1 : PyDict_SetItem(f->newest_at, f->label, at);
    Py_XDECREF(at);
    f->newest = -1;
    return result;
}

static void
forget_device(Fold *f)
{
    f->device = (Slice){NULL, 0};
    Py_CLEAR(f->label);
    Py_CLEAR(f->kinds);
    memset(f->remembered, 0, sizeof f->remembered);
}

/* Give an event back. Where it is the first of its kind, the next ones are to be known by path and device. */
static int
give_back(Fold *f, Py_ssize_t at, const Plain *kind)
{
    if (note_newest(f) < 0) {
        return -1;
    }
    PyObject *path = kind == NULL ? Py_NewRef(Py_None) : bytes_of(kind->path);
    PyObject *device = kind == NULL ? Py_NewRef(Py_None) : bytes_of(kind->device);
    PyObject *damaged = path == NULL || device == NULL ? NULL : PyObject_CallFunction(f->add_event, "nOO", at, path, device);
    Py_XDECREF(path);
    Py_XDECREF(device);
    if (damaged == NULL) {
        return -1;
    }
    f->damaged += PyLong_AsSsize_t(damaged);
    Py_DECREF(damaged);
    if (kind != NULL) {
        forget_device(f);
    }
    return PyErr_Occurred() ? -1 : 0;
}

static int
find_device(Fold *f, Slice device)
{
    if (is_same(f->device, device)) {
        return 0;
    }
    if (note_newest(f) < 0) {
        return -1;
    }
    forget_device(f);
    PyObject *key = bytes_of(device);
    PyObject *found = key == NULL ? NULL : PyDict_GetItemWithError(f->known, key);
    Py_XDECREF(key);
    if (found == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    if (!PyTuple_Check(found) || PyTuple_GET_SIZE(found) != 3 || !PyDict_Check(PyTuple_GET_ITEM(found, 2))) {
        PyErr_SetString(PyExc_TypeError, "no device");
        return -1;
    }
    f->device = device;
    if (device.size <= LONGEST_DEVICE) { /* what is found again need not lie where it lay before */
        memcpy(f->device_bytes, device.data, device.size);
        f->device.data = f->device_bytes;
    }
    f->label = Py_NewRef(PyTuple_GET_ITEM(found, 0));
    f->knows_allocated = PyTuple_GET_ITEM(found, 1) == Py_True;
    f->kinds = Py_NewRef(PyTuple_GET_ITEM(found, 2));
    return 0;
}

/* The kind of this path on the device, borrowed; NULL where it is not known yet, or with an error. */
static PyObject *
find_kind(Fold *f, Slice path)
{
    if (f->kinds == NULL) {
        return NULL;
    }
    size_t place = (path.size * 31 + path.data[path.size - 1] + (path.size > 4 ? path.data[path.size - 4] * 7U : 0))
        % REMEMBERED_KINDS;
    if (is_same(f->remembered[place].path, path)) {
        return f->remembered[place].kind;
    }
    PyObject *key = bytes_of(path);
    PyObject *kind = key == NULL ? NULL : PyDict_GetItemWithError(f->kinds, key);
    Py_XDECREF(key);
    if (kind == NULL) {
        return NULL;
    }
    if (Py_TYPE(kind) != f->kind_class) {
        PyErr_SetString(PyExc_TypeError, "no kind");
        return NULL;
    }
    f->remembered[place].path = path;
    f->remembered[place].kind = kind;
    return kind;
}

/* The counts so far of the device found, borrowed; NULL where they are not known yet, or with an error. */
static PyObject *
find_counts(Fold *f)
{
    return PyDict_GetItemWithError(f->newest_counts, f->label);
}

static int
take_boundary(Fold *f, Py_ssize_t at, const Plain *event)
{
    if (find_device(f, event->device) < 0) {
        return -1;
    }
    PyObject *kind = find_kind(f, event->path);
    if (kind == NULL) {
        return PyErr_Occurred() ? -1 : give_back(f, at, event);
    }
    PyObject *counts = event->has_counts ? find_counts(f) : NULL;
    if (event->has_counts && counts == NULL) {
        return PyErr_Occurred() ? -1 : give_back(f, at, NULL);
    }
    int64_t number = event->has_scope ? event->scope : event->sequence;
    PyObject *scope = f->is_lines ? text_of(event->scope_id) : PyLong_FromLongLong(number);
    if (scope == NULL) {
        return -1;
    }
    Py_INCREF(kind);
    int result = note_allocated(f, kind, event->allocated);
    if (result == 0) {
        result = note_highest(kind, f->reserved, event->reserved);
    }
    if (result == 0) {
        result = note_highest(kind, f->slack, event->reserved - event->allocated);
    }
    if (result == 0 && counts != NULL) {
        result = note_counts(f, counts, kind, event);
    }
    if (result == 0) {
        f->exits += event->is_exit;
        f->entries += !event->is_exit;
        result = event->is_exit ? note_exit(f, kind, event, scope, at) : note_enter(f, kind, event, scope);
    }
    if (result == 0) {
        result = note_parent(f, kind, event);
    }
    Py_DECREF(kind);
    Py_DECREF(scope);
    f->last_ns = event->time_ns > f->last_ns ? event->time_ns : f->last_ns;
    f->first_ns = event->time_ns < f->first_ns ? event->time_ns : f->first_ns;
    f->newest = at;
    return result;
}

static int
take(Fold *f, Py_ssize_t at, int is_plain, const Plain *event)
{
    is_plain = is_plain && !(f->raised != Py_None && PyDict_GET_SIZE(f->raised) > 0)
        && !(f->is_watched && event->status != STATUS_OK);
    return is_plain ? take_boundary(f, at, event) : give_back(f, at, NULL);
}

static int
take_payloads(Fold *f)
{
    Plain event;
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(f->payloads); at++) {
        PyObject *payload = PyList_GET_ITEM(f->payloads, at);
        int is_plain = PyBytes_CheckExact(payload)
            && take_plain((const unsigned char *)PyBytes_AS_STRING(payload), (size_t)PyBytes_GET_SIZE(payload), &event);
        if (take(f, at, is_plain, &event) < 0) {
            return -1;
        }
    }
    return note_newest(f);
}

/* The three texts of `LineUnpack.form`; 0 where there are none yet. */
static int
line_form(PyObject *form, LineText *text)
{
    Slice *slices[] = {&text->head, &text->middle, &text->tail};
    if (PyList_GET_SIZE(form) != 3) {
        return 0;
    }
    for (int index = 0; index < 3; index++) {
        PyObject *bytes = PyList_GET_ITEM(form, index);
        if (!PyBytes_CheckExact(bytes)) {
            return 0;
        }
        *slices[index] = (Slice){(const unsigned char *)PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes)};
    }
    return 1;
}

static int
take_lines(Fold *f)
{
    Plain event;
    LineText text;
    const unsigned char *line = (const unsigned char *)PyBytes_AS_STRING(f->payloads);
    const unsigned char *end = line + PyBytes_GET_SIZE(f->payloads);
    for (Py_ssize_t at = 0; line != NULL; at++) {
        const unsigned char *next = memchr(line, '\n', (size_t)(end - line));
        size_t size = (size_t)((next == NULL ? end : next) - line);
        /* The form is looked at again: events that are given back change it. */
        int is_plain = line_form(f->form, &text) && take_line(line, size, &text, &event);
        if (take(f, at, is_plain, &event) < 0) {
            return -1;
        }
        line = next == NULL ? NULL : next + 1;
    }
    return note_newest(f);
}

/* fold(payloads, form, known, untold, newest_at, opened, spans, raised, wants_ends, is_watched, add_event, max_opened,
 * kind_class, newest_counts, note_retries) -> (entries, exits, damaged, first_ns, last_ns)
 *
 * The names are those of PackedFold.add_packed. `payloads` are a list of a ring's, or the bytes of lines in this `form`.
 */
static PyObject *
fold(PyObject *Py_UNUSED(module), PyObject *args)
{
    Fold f = {.newest = -1, .is_first = 1, .first_ns = INT64_MAX};
    if (!PyArg_ParseTuple(
            args, "OOO!O!O!O!OOppOnO!O!O", &f.payloads, &f.form, &PyDict_Type, &f.known, &PyList_Type, &f.untold,
            &PyDict_Type, &f.newest_at, &PyDict_Type, &f.opened, &f.spans, &f.raised, &f.wants_ends, &f.is_watched,
            &f.add_event, &f.max_opened, &PyType_Type, &f.kind_class, &PyDict_Type, &f.newest_counts, &f.note_retries)) {
        return NULL;
    }
    f.is_lines = PyBytes_CheckExact(f.payloads);
    if ((f.raised != Py_None && !PyDict_Check(f.raised)) || (f.is_lines ? !PyList_Check(f.form) : !PyList_Check(f.payloads))) {
        PyErr_SetString(PyExc_TypeError, "raised must be a dict or None, payloads a list, or bytes with their form");
        return NULL;
    }
    const char *names[] = {
        "packed_deltas", "packed_durations", "packed_ends", "highest", "node", "path", "reserved", "risen", "risen_outside", "slack"};
    Py_ssize_t *offsets[] = {&f.deltas, &f.durations, &f.ends, &f.highest, &f.node,
                             &f.path, &f.reserved, &f.risen, &f.risen_outside, &f.slack};
    for (size_t index = 0; index < sizeof names / sizeof *names; index++) {
        *offsets[index] = slot_offset((PyObject *)f.kind_class, names[index]);
        if (*offsets[index] < 0) {
            return NULL;
        }
    }
    int result = f.is_lines ? take_lines(&f) : take_payloads(&f);
    forget_device(&f);
    return result < 0 ? NULL
                      : Py_BuildValue("nnnLL", f.entries, f.exits, f.damaged, (long long)f.first_ns, (long long)f.last_ns);
}

PyMethodDef fold_functions[] = {
    {"fold", fold, METH_VARARGS, "Take in the plain boundaries among these payloads, and give back all others."},
    {NULL, NULL, 0, NULL},
};
