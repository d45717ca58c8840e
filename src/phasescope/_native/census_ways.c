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
    int failed;
} Search;

static int
reach(PyObject *object, void *arg)
{
    Search *search = arg;
    if (search->known >= search->most) {
        return 1;
    }
    PyTypeObject *type = Py_TYPE(object);
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

/* Pairs of a dict and its length, of those that the collector has taken from its lists: with plain values alone. */
static PyObject *
plain_dicts(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *sources, *closed, *result = NULL;
    Py_ssize_t least;
    Search search = {.to_the_end = 1};
    if (!PyArg_ParseTuple(args, "O!O!nn", &PyList_Type, &sources, &PyList_Type, &closed, &search.most, &least)) {
        return NULL;
    }
    int was_on = PyGC_Disable();
    if (pointers_make(&search.seen, 8192) < 0 || search_from(&search, sources, sources, closed) < 0) {
        PyErr_NoMemory();
    } else {
        result = PyList_New(0);
        for (Py_ssize_t at = 0; result != NULL && at < search.known && PyList_GET_SIZE(result) < MOST_DICTS; at++) {
            PyObject *object = search.visits[at].object;
            if (!PyDict_Check(object) || PyObject_GC_IsTracked(object) || ((PyDictObject *)object)->ma_used < least) {
                continue;
            }
            PyObject *pair = Py_BuildValue("(On)", object, ((PyDictObject *)object)->ma_used);
            if (pair == NULL || PyList_Append(result, pair) < 0) {
                Py_CLEAR(result);
            }
            Py_XDECREF(pair);
        }
    }
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
    {"plain_dicts", plain_dicts, METH_VARARGS,
     "Return dicts that the collector does not list, each with its length, of what can be reached from the sources."},
    {NULL, NULL, 0, NULL},
};
