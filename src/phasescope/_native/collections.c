/* The callbacks by which capture/gc_guard.py learns of each garbage collection, without an interpreted line.
 *
 * Python runs signal handlers between its own instructions. In a callback of the collector that is written in Python
 * it would do so too, and what a handler raises there, as a Ctrl-C does, is printed and lost.
 */
#include "core.h"

#include <pythread.h>

/* What both callbacks share: the items of the tuple that is their `self`. */
enum { MODULE, NAMESPACE, WHILE_COLLECTING, ELSE, ENTERED_AGAIN, CALLBACKS, ENDS, SHARED_ITEMS };

static int
note(PyObject *shared, int is_collecting)
{
    PyObject *namespace = PyTuple_GET_ITEM(shared, NAMESPACE);
    PyObject *thread = PyLong_FromUnsignedLong(is_collecting ? PyThread_get_thread_ident() : 0);
    if (thread == NULL || PyDict_SetItemString(namespace, "_collecting_thread", thread) < 0) {
        Py_XDECREF(thread);
        return -1;
    }
    Py_DECREF(thread);
    interpret_phases(PyTuple_GET_ITEM(shared, MODULE), is_collecting);
    return PyDict_Update(namespace, PyTuple_GET_ITEM(shared, is_collecting ? WHILE_COLLECTING : ELSE));
}

static int
remove_from(PyObject *callbacks, PyObject *callback)
{
    for (Py_ssize_t index = PyList_GET_SIZE(callbacks) - 1; index >= 0; index--) {
        if (PyList_GET_ITEM(callbacks, index) == callback && PyList_SetSlice(callbacks, index, index + 1, NULL) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Around all others again, if some came around. The collector walks the list by index, and is at its begin. */
static int
go_around(PyObject *shared)
{
    PyObject *callbacks = PyTuple_GET_ITEM(shared, CALLBACKS), *ends = PyTuple_GET_ITEM(shared, ENDS);
    PyObject *first = PyList_GET_ITEM(ends, 0), *last = PyList_GET_ITEM(ends, 1);
    Py_ssize_t count = PyList_GET_SIZE(callbacks);
    if (count > 1 && PyList_GET_ITEM(callbacks, 0) == first && PyList_GET_ITEM(callbacks, count - 1) == last) {
        return 0;
    }
    return remove_from(callbacks, first) < 0 || remove_from(callbacks, last) < 0
            || PyList_Insert(callbacks, 0, first) < 0
        ? -1
        : PyList_Append(callbacks, last);
}

static int
is_stage(PyObject *const *args, Py_ssize_t count, const char *name)
{
    return count > 0 && PyUnicode_Check(args[0]) && PyUnicode_CompareWithASCIIString(args[0], name) == 0;
}

static PyObject *
at_start(PyObject *shared, PyObject *const *args, Py_ssize_t count)
{
    if (is_stage(args, count, "start") && (note(shared, 1) < 0 || go_around(shared) < 0)) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
at_stop(PyObject *shared, PyObject *const *args, Py_ssize_t count)
{
    if (is_stage(args, count, "stop")) {
        PyObject *again = PyTuple_GET_ITEM(shared, ENTERED_AGAIN);
        if (note(shared, 0) < 0 || PyList_SetSlice(again, 0, PyList_GET_SIZE(again), NULL) < 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

static PyMethodDef start_method = {
    "at_start", (PyCFunction)(void (*)(void))at_start, METH_FASTCALL, "Note that a collection begins."};
static PyMethodDef stop_method = {
    "at_stop", (PyCFunction)(void (*)(void))at_stop, METH_FASTCALL, "Note that a collection is over."};

static PyObject *
collection_callbacks(PyObject *module, PyObject *args)
{
    PyObject *namespace, *inside, *outside, *again, *callbacks;
    if (!PyArg_ParseTuple(args, "O!O!O!O!O!", &PyDict_Type, &namespace, &PyDict_Type, &inside, &PyDict_Type, &outside,
                          &PyList_Type, &again, &PyList_Type, &callbacks)) {
        return NULL;
    }
    PyObject *ends = PyList_New(0);
    if (ends == NULL) {
        return NULL;
    }
    PyObject *shared = PyTuple_Pack(SHARED_ITEMS, module, namespace, inside, outside, again, callbacks, ends);
    PyObject *first = shared == NULL ? NULL : PyCFunction_New(&start_method, shared);
    PyObject *last = shared == NULL ? NULL : PyCFunction_New(&stop_method, shared);
    PyObject *both = NULL;
    if (first != NULL && last != NULL && PyList_Append(ends, first) == 0 && PyList_Append(ends, last) == 0) {
        both = PyTuple_Pack(2, first, last);
    }
    Py_XDECREF(last);
    Py_XDECREF(first);
    Py_XDECREF(shared);
    Py_DECREF(ends);
    return both;
}

PyMethodDef collection_functions[] = {
    {"collection_callbacks", collection_callbacks, METH_VARARGS,
     "Return what is to be the first and the last of `gc.callbacks`, which is given with what they change."},
    {NULL, NULL, 0, NULL},
};
