/* What boundaries and the sampler's ticks read in the same way: clocks, numbers, packed parts, and what backends await. */
#ifndef PHASESCOPE_READING_H
#define PHASESCOPE_READING_H

#include "phase_context.h"

#include <time.h>

#if PY_VERSION_HEX < 0x030B0000
#include <longintrepr.h>
#endif

static inline int
read_clock(const Context *c, const Writer *writer, long long *ns)
{
#ifdef __linux__
    if (writer->now == c->system_clock) {
        struct timespec now;
        if (clock_gettime(CLOCK_MONOTONIC, &now) == 0) {
            *ns = now.tv_sec * 1000000000LL + now.tv_nsec;
            return 0;
        }
    }
#endif
    PyObject *clock = Py_XNewRef(writer->now);
    PyObject *now = clock == NULL ? NULL : PyObject_CallNoArgs(clock);
    Py_XDECREF(clock);
    if (now == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_AttributeError, "now");
        }
        return -1;
    }
    *ns = PyLong_AsLongLong(now);
    Py_DECREF(now);
    return *ns == -1 && PyErr_Occurred() ? -1 : 0;
}

/* Whether nothing that pending backends wait for has changed: the number of imported modules, and variables. */
static inline int
is_still(PyObject *awaited)
{
    PyObject *modules = PyImport_GetModuleDict();
    if (awaited == NULL || !PyTuple_CheckExact(awaited) || PyTuple_GET_SIZE(awaited) != 2
        || !PyLong_CheckExact(PyTuple_GET_ITEM(awaited, 0)) || !PyTuple_CheckExact(PyTuple_GET_ITEM(awaited, 1))
        || modules == NULL || !PyDict_CheckExact(modules)
        || PyLong_AsSsize_t(PyTuple_GET_ITEM(awaited, 0)) != PyDict_GET_SIZE(modules)) {
        return 0;
    }
    PyObject *variables = PyTuple_GET_ITEM(awaited, 1);
    for (Py_ssize_t index = 0; index < PyTuple_GET_SIZE(variables); index++) {
        PyObject *variable = PyTuple_GET_ITEM(variables, index), *namespace, *name, *value;
        if (!PyTuple_CheckExact(variable) || PyTuple_GET_SIZE(variable) != 3
            || !PyDict_CheckExact(namespace = PyTuple_GET_ITEM(variable, 0))
            || !PyUnicode_CheckExact(name = PyTuple_GET_ITEM(variable, 1))) {
            return 0;
        }
        value = PyDict_GetItemWithError(namespace, name);
        if ((value == NULL ? Py_None : value) != PyTuple_GET_ITEM(variable, 2)) {
            PyErr_Clear();
            return 0;
        }
    }
    return 1;
}

/* Whether this is an int within bounds; one of few digits, as nearly all are, without a call. */
static inline int
is_number(PyObject *object, long long *number)
{
    int overflow;
    if (!PyLong_CheckExact(object)) {
        return 0;
    }
#if PY_VERSION_HEX >= 0x030C0000
    if (PyUnstable_Long_IsCompact((PyLongObject *)object)) {
        *number = PyUnstable_Long_CompactValue((PyLongObject *)object);
        return 1;
    }
#else
    const digit *digits = ((PyLongObject *)object)->ob_digit;
    Py_ssize_t size = Py_SIZE(object);
    if (size == 1 || size == 2) {
        *number = size == 1 ? digits[0] : (long long)digits[1] << PyLong_SHIFT | digits[0];
        return 1;
    }
#endif
    *number = PyLong_AsLongLongAndOverflow(object, &overflow);
    return !overflow && *number >= -LARGEST && *number <= LARGEST;
}

static inline PyObject *
bytes_at(PyObject *object, PyTypeObject *type, Py_ssize_t offset)
{
    PyObject *bytes = object != NULL && Py_TYPE(object) == type ? slot_at(object, offset) : NULL;
    return bytes != NULL && PyBytes_CheckExact(bytes) ? bytes : NULL;
}

#endif
