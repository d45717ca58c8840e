/* The shortest way from one of several objects to others, by references: who keeps them. See census.c. */
#include "pointers.h"

typedef struct {
    PyObject *object;
    Py_ssize_t parent; /* -1: a source */
} Visit;

typedef struct {
    Pointers seen; /* by object the place of its visit */
    Visit *visits;
    Py_ssize_t known, room, most, at;
    int to_the_end; /* whatever was found, but only through objects of which the collector could know */
    PyObject *listed; /* then also these types: their instances, each with what refers to it, go into `held` */
    PyObject *held;
    int failed;
} Search;

enum { MOST_HELD = 1024, MOST_BESIDE = 256 };

static int
is_listed(PyTypeObject *type, PyObject *types)
{
    for (Py_ssize_t index = 0; index < PyTuple_GET_SIZE(types); index++) {
        if (PyTuple_GET_ITEM(types, index) == (PyObject *)type) {
            return 1;
        }
    }
    return 0;
}

/* Items of long containers are named by their number. */
static int
is_long(PyObject *owner)
{
    if (PyDict_Check(owner)) {
        return ((PyDictObject *)owner)->ma_used > MOST_BESIDE;
    }
    return (PyList_Check(owner) || PyTuple_Check(owner)) && Py_SIZE(owner) > MOST_BESIDE;
}

/* Note an object with its owner, and the owner's owner: a dict may be somebody's attributes. */
static int
note_held(Search *search, PyObject *object)
{
    PyObject *owner = search->at < 0 ? NULL : search->visits[search->at].object;
    if (owner == NULL || PyList_GET_SIZE(search->held) >= MOST_HELD || is_long(owner)) {
        return 0;
    }
    Py_ssize_t above = search->visits[search->at].parent;
    PyObject *triple = PyTuple_Pack(3, above < 0 ? Py_None : search->visits[above].object, owner, object);
    int is_noted = triple != NULL && PyList_Append(search->held, triple) == 0;
    Py_XDECREF(triple);
    return is_noted ? 0 : -1;
}

static int
reach(PyObject *object, void *arg)
{
    Search *search = arg;
    if (search->known >= search->most) {
        return 1;
    }
    PyTypeObject *type = Py_TYPE(object);
    if (search->listed != NULL && is_listed(type, search->listed)) {
        int is_first;
        if (pointers_add(&search->seen, object, PY_SSIZE_T_MAX, &is_first) == NULL
            || (is_first && note_held(search, object) < 0)) {
            search->failed = 1;
            return 1;
        }
        return 0;
    }
    if (type == &PyUnicode_Type || type == &PyLong_Type || type == &PyFloat_Type || object == Py_None) {
        return 0;
    }
    if (search->to_the_end && !PyType_HasFeature(type, Py_TPFLAGS_HAVE_GC)) {
        return 0;
    }
    int is_new;
    if (pointers_add(&search->seen, object, search->known, &is_new) == NULL) {
        search->failed = 1;
        return 1;
    }
    if (!is_new) {
        return 0;
    }
    if (search->known == search->room) {
        Py_ssize_t room = search->room * 2 + 4096;
        Visit *visits = realloc(search->visits, (size_t)room * sizeof *visits);
        if (visits == NULL) {
            search->failed = 1;
            return 1;
        }
        search->visits = visits;
        search->room = room;
    }
    search->visits[search->known].object = object;
    search->visits[search->known].parent = search->at;
    search->known++;
    return 0;
}

static PyObject *
way_to(const Search *search, PyObject *target)
{
    const Pointer *slot = pointers_find(&search->seen, target);
    if (slot == NULL || slot->value >= search->known) {
        Py_RETURN_NONE;
    }
    PyObject *way = PyList_New(0);
    for (Py_ssize_t at = slot->value; way != NULL && at >= 0; at = search->visits[at].parent) {
        if (PyList_Append(way, search->visits[at].object) < 0) {
            Py_CLEAR(way);
        }
    }
    if (way != NULL && PyList_Reverse(way) < 0) {
        Py_CLEAR(way);
    }
    return way;
}

/* How many of the targets are found already; those found before are not asked for again. */
static int
are_all_found(const Search *search, PyObject *targets, Py_ssize_t *next)
{
    while (*next < PyList_GET_SIZE(targets) && pointers_find(&search->seen, PyList_GET_ITEM(targets, *next)) != NULL) {
        (*next)++;
    }
    return *next == PyList_GET_SIZE(targets);
}

static int
search_from(Search *search, PyObject *sources, PyObject *targets, PyObject *closed)
{
    int is_new;
    for (Py_ssize_t index = 0; index < PyList_GET_SIZE(closed); index++) { /* as if they had been seen, with no way */
        if (pointers_add(&search->seen, PyList_GET_ITEM(closed, index), PY_SSIZE_T_MAX, &is_new) == NULL) {
            return -1;
        }
    }
    search->at = -1;
    for (Py_ssize_t index = 0; index < PyList_GET_SIZE(sources); index++) {
        (void)reach(PyList_GET_ITEM(sources, index), search);
    }
    Py_ssize_t next = 0;
    for (Py_ssize_t at = 0; at < search->known && !search->failed; at++) {
        PyObject *object = search->visits[at].object;
        PyTypeObject *type = Py_TYPE(object);
        if (type->tp_traverse == NULL || !PyObject_IS_GC(object)) {
            continue;
        }
        search->at = at;
        (void)type->tp_traverse(object, reach, search);
        if (search->known >= search->most || (!search->to_the_end && are_all_found(search, targets, &next))) {
            break;
        }
    }
    return search->failed ? -1 : 0;
}

static PyObject *
ways(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *sources, *targets, *closed, *result = NULL;
    Search search = {0};
    if (!PyArg_ParseTuple(args, "O!O!O!n", &PyList_Type, &sources, &PyList_Type, &targets, &PyList_Type, &closed,
                          &search.most)) {
        return NULL;
    }
    int was_on = PyGC_Disable();
    if (pointers_make(&search.seen, 8192) < 0 || search_from(&search, sources, targets, closed) < 0) {
        PyErr_NoMemory();
    } else {
        result = PyList_New(PyList_GET_SIZE(targets));
        for (Py_ssize_t index = 0; result != NULL && index < PyList_GET_SIZE(targets); index++) {
            PyObject *way = way_to(&search, PyList_GET_ITEM(targets, index));
            if (way == NULL) {
                Py_CLEAR(result);
            } else {
                PyList_SET_ITEM(result, index, way);
            }
        }
    }
    pointers_free(&search.seen);
    free(search.visits);
    if (was_on) {
        PyGC_Enable();
    }
    return result;
}

enum { MOST_DICTS = 256 };

/* Pairs of a dict and its length, of those that the collector has taken from its lists: with plain values alone. And
 * the instances of some types, each with its owner and the owner's owner. */
static PyObject *
reachable(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *sources, *closed, *result = NULL;
    Py_ssize_t least;
    Search search = {.to_the_end = 1};
    if (!PyArg_ParseTuple(args, "O!O!nnO!", &PyList_Type, &sources, &PyList_Type, &closed, &search.most, &least,
                          &PyTuple_Type, &search.listed)) {
        return NULL;
    }
    search.held = PyList_New(0);
    if (search.held == NULL) {
        return NULL;
    }
    int was_on = PyGC_Disable();
    if (pointers_make(&search.seen, 8192) < 0 || search_from(&search, sources, sources, closed) < 0) {
        PyErr_NoMemory();
    } else {
        PyObject *dicts = PyList_New(0);
        for (Py_ssize_t at = 0; dicts != NULL && at < search.known && PyList_GET_SIZE(dicts) < MOST_DICTS; at++) {
            PyObject *object = search.visits[at].object;
            if (!PyDict_Check(object) || PyObject_GC_IsTracked(object) || ((PyDictObject *)object)->ma_used < least) {
                continue;
            }
            PyObject *pair = Py_BuildValue("(On)", object, ((PyDictObject *)object)->ma_used);
            if (pair == NULL || PyList_Append(dicts, pair) < 0) {
                Py_CLEAR(dicts);
            }
            Py_XDECREF(pair);
        }
        result = dicts == NULL ? NULL : Py_BuildValue("(NO)", dicts, search.held);
    }
    Py_DECREF(search.held);
    pointers_free(&search.seen);
    free(search.visits);
    if (was_on) {
        PyGC_Enable();
    }
    return result;
}

PyMethodDef ways_functions[] = {
    {"ways", ways, METH_VARARGS,
     "Return for each target the objects from a source to it, each referring to the next, the fewest; None if none do."},
    {"reachable", reachable, METH_VARARGS,
     "Return dicts that the collector does not list, each with its length, and instances of the types, with their owners."},
    {NULL, NULL, 0, NULL},
};
