/* The summary of a ring, or of a recording's lines: what analysis/summary/packed_summary.py does with each plain boundary,
 * without an object for it.
 *
 * It keeps the sums in that class's own objects, so either can go on where the other left off. An event that is not
 * plain, or is the first of its kind, is given back to it.
 */
#include "batch.h"
#include "fold.h"

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

static int
forget_device(Fold *f)
{
    f->device = (Slice){NULL, 0};
    Py_CLEAR(f->label);
    Py_CLEAR(f->kinds);
    return settle_kinds(f);
}

/* Give an event back. Where it is the first of its kind, the next ones are to be known by path and device. */
static int
give_back(Fold *f, Py_ssize_t at, const Plain *kind)
{
    if (note_newest(f) < 0 || settle_kinds(f) < 0 || settle_open(f) < 0 || (kind != NULL && forget_device(f) < 0)) {
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
    return PyErr_Occurred() ? -1 : 0;
}

static int
find_device(Fold *f, Slice device)
{
    if (is_same(f->device, device)) {
        return 0;
    }
    if (note_newest(f) < 0 || forget_device(f) < 0) {
        return -1;
    }
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
    Kind *kind = find_kind(f, event->path);
    if (kind == NULL) {
        return PyErr_Occurred() ? -1 : give_back(f, at, event);
    }
    PyObject *counts = event->has_counts ? find_counts(f) : NULL;
    if (event->has_counts && counts == NULL) {
        return PyErr_Occurred() ? -1 : give_back(f, at, NULL);
    }
    PyObject *path = slot_at(kind->kind, f->path);
    if (path == NULL || note_maxima(f, kind, event) < 0
        || (counts != NULL && note_counts(f, counts, kind->kind, event) < 0)
        || (event->is_exit ? note_left(f, event) < 0 || note_ended(f, kind, event, at) < 0 : note_enter(f, path, event) < 0)
        || note_parent(f, path, event) < 0) {
        return -1;
    }
    f->exits += event->is_exit;
    f->entries += !event->is_exit;
    f->last_ns = event->time_ns > f->last_ns ? event->time_ns : f->last_ns;
    f->first_ns = event->time_ns < f->first_ns ? event->time_ns : f->first_ns;
    f->newest = at;
    return 0;
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
    for (Py_ssize_t at = 0; at < f->spans_of.len / SPAN_BYTES; at++) {
        Slice payload = span_at(&f->data, &f->spans_of, at);
        if (payload.data == NULL) {
            PyErr_SetString(PyExc_ValueError, "a payload is not in the data");
            return -1;
        }
        if (take(f, at, take_plain(payload.data, payload.size, &event), &event) < 0) {
            return -1;
        }
    }
    return note_newest(f);
}

static int
take_lines(Fold *f)
{
    Plain event;
    LineText text = {.source = {NULL, 0}};
    const unsigned char *line = f->data.buf, *end = line + f->data.len;
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

static int
find_slots(Fold *f)
{
    const char *names[] = {"highest", "reserved", "slack", "packed_durations", "packed_deltas", "packed_ends",
                           "node", "path", "risen", "risen_outside"};
    Py_ssize_t *offsets[] = {&f->maxima[HIGHEST], &f->maxima[RESERVED], &f->maxima[SLACK], &f->growing[DURATIONS],
                             &f->growing[DELTAS], &f->growing[ENDS], &f->node, &f->path, &f->risen, &f->risen_outside};
    for (size_t index = 0; index < sizeof names / sizeof *names; index++) {
        *offsets[index] = slot_offset((PyObject *)f->kind_class, names[index]);
        if (*offsets[index] < 0) {
            return -1;
        }
    }
    return 0;
}

/* What is kept here comes where Python finds it, also after an error. */
static int
settle(Fold *f)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    int kinds = forget_device(f), open = settle_open(f);
    if (type != NULL) {
        PyErr_Restore(type, value, traceback);
    }
    return kinds < 0 || open < 0 ? -1 : 0;
}

/* fold(data, payload_spans, form, known, untold, newest_at, opened, spans, raised, wants_ends, is_watched, add_event,
 * max_opened, kind_class, newest_counts) -> (entries, exits, damaged, first_ns, last_ns)
 *
 * The names are those of PackedFold.add_packed. `data` has a ring's payloads in these places, or, without them, is lines
 * in this `form`.
 */
static PyObject *
fold(PyObject *Py_UNUSED(module), PyObject *args)
{
    Fold f = {.newest = -1, .is_first = 1, .first_ns = INT64_MAX};
    if (!PyArg_ParseTuple(
            args, "y*z*OO!O!O!O!OOppOnO!O!", &f.data, &f.spans_of, &f.form, &PyDict_Type, &f.known, &PyList_Type, &f.untold,
            &PyDict_Type, &f.newest_at, &PyDict_Type, &f.opened, &f.spans, &f.raised, &f.wants_ends, &f.is_watched,
            &f.add_event, &f.max_opened, &PyType_Type, &f.kind_class, &PyDict_Type, &f.newest_counts)) {
        return NULL;
    }
    PyObject *result = NULL;
    f.is_lines = f.spans_of.buf == NULL;
    if ((f.raised != Py_None && !PyDict_Check(f.raised)) || (f.is_lines && !PyList_Check(f.form))) {
        PyErr_SetString(PyExc_TypeError, "raised must be a dict or None, and lines have a form");
    }
    else if (find_slots(&f) == 0) {
        int taken = f.is_lines ? take_lines(&f) : take_payloads(&f);
        taken = settle(&f) < 0 ? -1 : taken;
        result = taken < 0 ? NULL
                           : Py_BuildValue(
                                 "nnnLL", f.entries, f.exits, f.damaged, (long long)f.first_ns, (long long)f.last_ns);
    }
    PyBuffer_Release(&f.data);
    if (!f.is_lines) {
        PyBuffer_Release(&f.spans_of);
    }
    return result;
}

PyMethodDef fold_functions[] = {
    {"fold", fold, METH_VARARGS, "Take in the plain boundaries among these payloads, and give back all others."},
    {NULL, NULL, 0, NULL},
};
