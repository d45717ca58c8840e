/* The census: how many live objects there are of which type, which containers grew, and a way from a name to one.
 *
 * All of it looks only at what the collector of garbage looks at: types, lengths, and references by `tp_traverse`. No
 * code of the training's runs, and no reference is kept. The interpreter's lock is held throughout and the collector
 * is off, so what is seen cannot change; the collector's generations stay as they are.
 */
#include "pointers.h"

enum { LISTED = 1, SIZED = 2 }; /* what is known of a type */
enum { MOST_CONTAINERS = 1 << 15, MOST_GROWN = 256, MOST_TYPES = 8 };
enum { AHEAD = 12 }; /* objects: the memory of those is fetched already */

#if defined(__GNUC__)
#define FETCH(address) __builtin_prefetch(address)
#else
#define FETCH(address) (void)(address)
#endif

typedef struct {
    PyObject *listed; /* a tuple of types, of instances to be listed */
    PyObject *found;
    Pointers types, lengths;
    unsigned char *kinds; /* of a type, by its place in the order seen */
    Py_ssize_t *counts;
    PyTypeObject **seen;
    Py_ssize_t room, known;
    PyTypeObject *deque;
} Count;

static int
is_one_of(PyTypeObject *type, PyObject *classes)
{
    for (Py_ssize_t index = 0; index < PyTuple_GET_SIZE(classes); index++) {
        PyObject *other = PyTuple_GET_ITEM(classes, index);
        if (PyType_Check(other) && PyType_IsSubtype(type, (PyTypeObject *)other)) {
            return 1;
        }
    }
    return 0;
}

static int
kind_of(const Count *count, PyTypeObject *type)
{
    int kind = is_one_of(type, count->listed) ? LISTED : 0;
    if (PyType_IsSubtype(type, &PyList_Type) || PyType_IsSubtype(type, &PyDict_Type)
        || PyType_IsSubtype(type, &PySet_Type) || type == count->deque) {
        kind |= SIZED;
    }
    return kind;
}

/* The place of a type among those seen, or -1 where there is no memory. */
static Py_ssize_t
place_of(Count *count, PyTypeObject *type)
{
    int is_new;
    Pointer *slot = pointers_add(&count->types, type, count->known, &is_new);
    if (slot == NULL) {
        return -1;
    }
    Py_ssize_t place = slot->value;
    if (is_new) {
        if (count->known == count->room) {
            Py_ssize_t room = count->room * 2 + 1024;
            void *kinds = realloc(count->kinds, (size_t)room), *counts, *seen;
            count->kinds = kinds == NULL ? count->kinds : kinds;
            counts = realloc(count->counts, (size_t)room * sizeof *count->counts);
            count->counts = counts == NULL ? count->counts : counts;
            seen = realloc(count->seen, (size_t)room * sizeof *count->seen);
            count->seen = seen == NULL ? count->seen : seen;
            if (kinds == NULL || counts == NULL || seen == NULL) {
                return -1;
            }
            count->room = room;
        }
        count->kinds[place] = (unsigned char)kind_of(count, type);
        count->counts[place] = 0;
        count->seen[place] = type;
        count->known++;
    }
    return place;
}

static Py_ssize_t
length_of(PyObject *object)
{
    if (PyList_Check(object)) {
        return PyList_GET_SIZE(object);
    }
    if (PyDict_Check(object)) {
        return ((PyDictObject *)object)->ma_used;
    }
    return PyAnySet_Check(object) ? ((PySetObject *)object)->used : Py_SIZE(object); /* a deque's size is its length */
}

/* Count all objects of the list; into `grown` go pairs of a container and how long it was, of those that grew. */
static int
count_all(Count *count, PyObject *objects, const Pointers *before, Py_ssize_t least, Py_ssize_t least_more, PyObject **grown,
          Py_ssize_t *previous, Py_ssize_t *grown_count)
{
    Py_ssize_t length_of_all = PyList_GET_SIZE(objects);
    for (Py_ssize_t index = 0; index < length_of_all; index++) {
        if (index + AHEAD < length_of_all) {
            FETCH(&PyList_GET_ITEM(objects, index + AHEAD)->ob_type);
        }
        PyObject *object = PyList_GET_ITEM(objects, index);
        PyTypeObject *type = Py_TYPE(object);
        Py_ssize_t place = place_of(count, type);
        if (place < 0) {
            return -1;
        }
        count->counts[place]++;
        int kind = count->kinds[place];
        if ((kind & LISTED) && PyList_Append(count->found, object) < 0) {
            return -1;
        }
        if (kind & SIZED) {
            Py_ssize_t length = length_of(object);
            int is_new;
            if (length >= least && count->lengths.used < MOST_CONTAINERS) {
                if (pointers_add(&count->lengths, object, length, &is_new) == NULL) {
                    return -1;
                }
                const Pointer *old = before == NULL ? NULL : pointers_find(before, object);
                if (old != NULL && length - old->value >= least_more && *grown_count < MOST_GROWN) {
                    grown[*grown_count] = object;
                    previous[(*grown_count)++] = old->value;
                }
            }
        }
    }
    return 0;
}

static const char LENGTHS[] = "phasescope.lengths";

static void
free_lengths(PyObject *capsule)
{
    Pointers *table = PyCapsule_GetPointer(capsule, LENGTHS);
    if (table != NULL) {
        pointers_free(table);
        free(table);
    }
}

static PyObject *
keep_lengths(Count *count)
{
    Pointers *table = malloc(sizeof *table);
    if (table == NULL) {
        return PyErr_NoMemory();
    }
    *table = count->lengths;
    PyObject *capsule = PyCapsule_New(table, LENGTHS, free_lengths);
    if (capsule == NULL) {
        free(table);
        return NULL;
    }
    count->lengths.slots = NULL;
    return capsule;
}

/* Pairs of a type and how many there are, the most of them first: a dict would ask the types for their hashes, and a
 * type's may be code of the training's. */
static PyObject *
commonest_types(const Count *count, Py_ssize_t most)
{
    PyObject *pairs = PyList_New(0);
    for (Py_ssize_t rank = 0; pairs != NULL && rank < most; rank++) {
        Py_ssize_t largest = -1;
        for (Py_ssize_t place = 0; place < count->known; place++) {
            if (count->counts[place] > 0 && (largest < 0 || count->counts[place] > count->counts[largest])) {
                largest = place;
            }
        }
        if (largest < 0) {
            break;
        }
        PyObject *pair = Py_BuildValue("(On)", count->seen[largest], count->counts[largest]);
        if (pair == NULL || PyList_Append(pairs, pair) < 0) {
            Py_CLEAR(pairs);
        }
        Py_XDECREF(pair);
        count->counts[largest] = 0;
    }
    return pairs;
}

static PyObject *
grown_containers(PyObject *const *grown, const Py_ssize_t *previous, Py_ssize_t count)
{
    PyObject *result = PyList_New(count);
    for (Py_ssize_t index = 0; result != NULL && index < count; index++) {
        PyObject *pair = Py_BuildValue("(Onn)", grown[index], previous[index], length_of(grown[index]));
        if (pair == NULL) {
            Py_CLEAR(result);
        } else {
            PyList_SET_ITEM(result, index, pair);
        }
    }
    return result;
}

/* All live objects, as the collector lists them. */
static PyObject *
live_objects(void)
{
    PyObject *gc = PyImport_ImportModule("gc");
    PyObject *objects = gc == NULL ? NULL : PyObject_CallMethod(gc, "get_objects", NULL);
    Py_XDECREF(gc);
    return objects;
}

static PyObject *
census(PyObject *Py_UNUSED(module), PyObject *args)
{
    Count count = {0};
    PyObject *capsule, *deque, *result = NULL, *grown[MOST_GROWN];
    Py_ssize_t least, least_more, previous[MOST_GROWN], grown_count = 0, total = 0;
    if (!PyArg_ParseTuple(args, "O!OOnn", &PyTuple_Type, &count.listed, &deque, &capsule, &least, &least_more)) {
        return NULL;
    }
    const Pointers *before = capsule == Py_None ? NULL : PyCapsule_GetPointer(capsule, LENGTHS);
    if (PyErr_Occurred()) {
        return NULL;
    }
    count.deque = PyType_Check(deque) ? (PyTypeObject *)deque : NULL;
    int was_on = PyGC_Disable();
    count.found = PyList_New(0);
    PyObject *objects = count.found == NULL ? NULL : live_objects();
    if (objects != NULL && PyList_CheckExact(objects)) {
        total = PyList_GET_SIZE(objects);
        if (pointers_make(&count.types, 4096) < 0
            || pointers_make(&count.lengths, 1024) < 0
            || count_all(&count, objects, before, least, least_more, grown, previous, &grown_count) < 0) {
            if (!PyErr_Occurred()) {
                PyErr_NoMemory();
            }
        } else {
            PyObject *counts = commonest_types(&count, MOST_TYPES), *kept = keep_lengths(&count);
            PyObject *containers = grown_containers(grown, previous, grown_count);
            if (counts != NULL && kept != NULL && containers != NULL) {
                result = Py_BuildValue("(nOOOO)", total, counts, count.found, containers, kept);
            }
            Py_XDECREF(counts);
            Py_XDECREF(kept);
            Py_XDECREF(containers);
        }
    }
    Py_XDECREF(objects);
    Py_XDECREF(count.found);
    pointers_free(&count.types);
    pointers_free(&count.lengths);
    free(count.kinds);
    free(count.counts);
    free(count.seen);
    if (was_on) {
        PyGC_Enable();
    }
    return result;
}

PyMethodDef census_functions[] = {
    {"census", census, METH_VARARGS,
     "Return the number of live objects, the commonest types, those to be listed, containers that grew, and lengths."},
    {NULL, NULL, 0, NULL},
};
