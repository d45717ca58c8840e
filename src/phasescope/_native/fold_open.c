/* The phases that are open while a summary is made: few, and most of them end before anybody asks. So they are kept here,
 * and come into the dict `opened` of analysis/spans.py when Python is to look. Where they are many, the dict has them all.
 */
#include "fold.h"

static int64_t
number_of(const Plain *event)
{
    return event->has_scope ? event->scope : event->sequence;
}

static PyObject *
key_of(const Fold *f, int64_t number, Slice id)
{
    return f->is_lines ? text_of(id) : PyLong_FromLongLong(number);
}

/* Take what `opened` has; leave it all there if it is much, or has keys of another kind. */
static int
begin(Fold *f)
{
    PyObject *key, *value;
    Py_ssize_t place = 0;
    f->open_count = 0;
    f->open_state = OPEN_IN_DICT;
    if (PyDict_GET_SIZE(f->opened) > KEPT_OPEN / 2) {
        return 0;
    }
    while (PyDict_Next(f->opened, &place, &key, &value)) {
        Open open = {.is_stored = 1};
        int is_other = 0;
        if (f->is_lines && PyUnicode_CheckExact(key) && PyUnicode_IS_COMPACT_ASCII(key)) {
            open.id = (Slice){PyUnicode_DATA(key), (size_t)PyUnicode_GET_LENGTH(key)};
        }
        else if (!f->is_lines && PyLong_CheckExact(key)) {
            open.number = PyLong_AsLongLongAndOverflow(key, &is_other);
        }
        else {
            is_other = 1;
        }
        if (is_other) {
            f->open_count = 0;
            return 0;
        }
        open.was_entered = PyTuple_Check(value) && PyTuple_GET_SIZE(value) == 3 && PyTuple_GET_ITEM(value, 2) == Py_True;
        f->open[f->open_count++] = open;
    }
    f->open_state = OPEN_KEPT;
    return 0;
}

static Open *
find_open(Fold *f, int64_t number, Slice id)
{
    for (int at = f->open_count - 1; at >= 0; at--) {
        if (f->is_lines ? is_same(id, f->open[at].id) : number == f->open[at].number) {
            return &f->open[at];
        }
    }
    return NULL;
}

static int
store(Fold *f, PyObject *key, PyObject *path, int64_t time_ns)
{
    PyObject *time = PyLong_FromLongLong(time_ns);
    PyObject *entry = time == NULL ? NULL : PyTuple_Pack(3, path, time, Py_True);
    Py_XDECREF(time);
    int result = entry == NULL ? -1 : PyDict_SetItem(f->opened, key, entry);
    Py_XDECREF(entry);
    return result;
}

int
settle_open(Fold *f)
{
    int result = 0;
    for (int at = 0; at < f->open_count; at++) {
        Open *open = &f->open[at];
        if (!open->is_stored && result == 0) {
            PyObject *key = key_of(f, open->number, open->id);
            result = key == NULL ? -1 : store(f, key, open->path, open->time_ns);
            Py_XDECREF(key);
        }
        Py_CLEAR(open->path);
    }
    f->open_count = 0;
    f->open_state = OPEN_ANEW;
    return result;
}

static int
is_first(Fold *f)
{
    if (f->is_first) {
        PyObject *is_first = PyObject_GetAttrString(f->spans, "is_first");
        if (is_first == NULL) {
            return -1;
        }
        f->is_first = is_first == Py_True;
        Py_DECREF(is_first);
    }
    return f->is_first;
}

/* The same where the dict has them all, or where there is more to do than to open it. */
static int
enter_in_dict(Fold *f, PyObject *path, const Plain *event)
{
    PyObject *key = key_of(f, number_of(event), event->scope_id);
    if (key == NULL) {
        return -1;
    }
    int result = is_first(f);
    if (result == 0 && PyDict_GET_SIZE(f->opened) < f->max_opened) {
        result = store(f, key, path, event->time_ns);
    }
    else if (result >= 0) {
        result = done(PyObject_CallMethod(f->spans, "entered", "OOL", key, path, (long long)event->time_ns));
    }
    Py_DECREF(key);
    return result;
}

int
note_enter(Fold *f, PyObject *path, const Plain *event)
{
    int first = is_first(f);
    if (first < 0 || (f->open_state == OPEN_ANEW && begin(f) < 0)) {
        return -1;
    }
    int64_t number = number_of(event);
    if (first || f->open_state == OPEN_IN_DICT || f->open_count == KEPT_OPEN || f->open_count >= f->max_opened
        || find_open(f, number, event->scope_id) != NULL) {
        int is_in_dict = f->open_state == OPEN_IN_DICT;
        if (settle_open(f) < 0 || enter_in_dict(f, path, event) < 0) {
            return -1;
        }
        f->open_state = is_in_dict ? OPEN_IN_DICT : OPEN_ANEW;
        return 0;
    }
    f->open[f->open_count++]
        = (Open){.number = number, .id = event->scope_id, .path = Py_NewRef(path), .time_ns = event->time_ns, .was_entered = 1};
    return 0;
}

/* Take it out of the dict; whether it was entered, or -1 with an error. */
static int
leave_in_dict(Fold *f, PyObject *key)
{
    PyObject *entry = PyDict_GetItemWithError(f->opened, key);
    if (entry == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    int was_entered = PyTuple_Check(entry) && PyTuple_GET_SIZE(entry) == 3 && PyTuple_GET_ITEM(entry, 2) == Py_True;
    return PyDict_DelItem(f->opened, key) < 0 ? -1 : was_entered;
}

int
note_left(Fold *f, const Plain *event)
{
    if (f->open_state == OPEN_ANEW && begin(f) < 0) {
        return -1;
    }
    Open *open = f->open_state == OPEN_KEPT ? find_open(f, number_of(event), event->scope_id) : NULL;
    if (open != NULL && !open->is_stored) {
        Py_CLEAR(open->path);
        f->open_count--;
        memmove(open, open + 1, (size_t)(f->open + f->open_count - open) * sizeof *open);
        return 0;
    }
    PyObject *key = key_of(f, number_of(event), event->scope_id);
    if (key == NULL) {
        return -1;
    }
    int was_entered = open == NULL && f->open_state == OPEN_KEPT ? 0 : leave_in_dict(f, key);
    if (open != NULL) { /* its id was that of the key in the dict */
        f->open_count--;
        memmove(open, open + 1, (size_t)(f->open + f->open_count - open) * sizeof *open);
    }
    if (was_entered == 0) {
        was_entered = done(PyObject_CallMethod(f->spans, "ended_unentered", "O", key));
    }
    Py_DECREF(key);
    return was_entered < 0 ? -1 : 0;
}

static int
has_same_parent(const Fold *f, const Plain *event)
{
    if (event->has_parent != f->has_last_parent || !event->has_parent) {
        return event->has_parent == f->has_last_parent;
    }
    return f->is_lines ? is_same(event->parent_id, f->last_parent_id) : event->parent == f->last_parent;
}

/* Whether it is open; -1 with an error. */
static int
is_open(Fold *f, const Plain *event)
{
    if (f->open_state == OPEN_ANEW && begin(f) < 0) {
        return -1;
    }
    if (f->open_state == OPEN_KEPT) {
        return find_open(f, event->parent, event->parent_id) != NULL;
    }
    PyObject *parent = key_of(f, event->parent, event->parent_id);
    int result = parent == NULL ? -1 : PyDict_Contains(f->opened, parent);
    Py_XDECREF(parent);
    return result;
}

/* The same parent twice in a row says nothing new. */
int
note_parent(Fold *f, PyObject *path, const Plain *event)
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
    int result = is_open(f, event);
    if (result != 0) {
        return result < 0 ? -1 : 0;
    }
    int is_in_dict = f->open_state == OPEN_IN_DICT;
    PyObject *parent = key_of(f, event->parent, event->parent_id);
    PyObject *outer = PyTuple_Check(path) ? PyTuple_GetSlice(path, 0, Py_MAX(PyTuple_GET_SIZE(path) - 1, 0)) : NULL;
    result = parent == NULL || outer == NULL || settle_open(f) < 0
        ? -1
        : done(PyObject_CallMethod(f->spans, "seen_open", "OOL", parent, outer, (long long)event->time_ns));
    f->open_state = is_in_dict ? OPEN_IN_DICT : f->open_state;
    Py_XDECREF(parent);
    Py_XDECREF(outer);
    return result;
}
