/* The variables of a frame, by name, without a trace.
 *
 * Until Python 3.13 `frame.f_locals` fills a dict that stays with the frame: it would keep what the variables held
 * alive, and change what a function got from `locals()`.
 */
#include <Python.h>

#if PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x030C0000
#if defined(__has_include)
#if __has_include(<internal/pycore_frame.h>)
#define HAS_INNER_FRAME 1
#define Py_BUILD_CORE 1
#include <internal/pycore_code.h>
#include <internal/pycore_frame.h>
#undef Py_BUILD_CORE
#endif
#endif
#endif

#if PY_VERSION_HEX < 0x030B0000
#include <frameobject.h>
#endif

#include "core.h"

#if PY_VERSION_HEX < 0x030B0000 || defined(HAS_INNER_FRAME)
static int
keep_variable(PyObject *variables, PyObject *name, PyObject *value)
{
    if (value != NULL && PyCell_Check(value)) {
        value = PyCell_GET(value);
    }
    return value == NULL ? 0 : PyDict_SetItem(variables, name, value);
}
#endif

#if PY_VERSION_HEX >= 0x030C0000
static int
keep_named(PyObject *variables, PyFrameObject *frame, PyObject *names)
{
    int result = 0;
    for (Py_ssize_t index = 0; result == 0 && names != NULL && index < PyTuple_GET_SIZE(names); index++) {
        PyObject *name = PyTuple_GET_ITEM(names, index), *value = PyFrame_GetVar(frame, name);
        if (value == NULL && !PyErr_ExceptionMatches(PyExc_NameError)) {
            result = -1;
        } else if (value == NULL) {
            PyErr_Clear();
        } else {
            result = PyDict_SetItem(variables, name, value);
            Py_DECREF(value);
        }
    }
    Py_XDECREF(names);
    return names == NULL ? -1 : result;
}

static int
keep_variables(PyObject *variables, PyFrameObject *frame)
{
    PyCodeObject *code = PyFrame_GetCode(frame);
    int result = keep_named(variables, frame, PyCode_GetVarnames(code)) < 0
            || keep_named(variables, frame, PyCode_GetCellvars(code)) < 0
            || keep_named(variables, frame, PyCode_GetFreevars(code)) < 0
        ? -1
        : 0;
    Py_DECREF(code);
    return result;
}
#elif defined(HAS_INNER_FRAME)
static int
keep_variables(PyObject *variables, PyFrameObject *frame)
{
    struct _PyInterpreterFrame *inner = frame->f_frame;
    PyCodeObject *code = inner->f_code;
    for (int index = 0; index < code->co_nlocalsplus; index++) {
        PyObject *name = PyTuple_GET_ITEM(code->co_localsplusnames, index);
        if (keep_variable(variables, name, inner->localsplus[index]) < 0) {
            return -1;
        }
    }
    return 0;
}
#elif PY_VERSION_HEX >= 0x030B0000
static int
keep_variables(PyObject *variables, PyFrameObject *frame)
{
    (void)variables, (void)frame; /* these headers do not say where they lie */
    return 0;
}
#else
static int
keep_variables(PyObject *variables, PyFrameObject *frame)
{
    PyCodeObject *code = frame->f_code;
    PyObject *names[3] = {code->co_varnames, code->co_cellvars, code->co_freevars};
    Py_ssize_t place = 0;
    for (int kind = 0; kind < 3; kind++) {
        for (Py_ssize_t index = 0; index < PyTuple_GET_SIZE(names[kind]); index++, place++) {
            if (keep_variable(variables, PyTuple_GET_ITEM(names[kind], index), frame->f_localsplus[place]) < 0) {
                return -1;
            }
        }
    }
    return 0;
}
#endif

static PyObject *
frame_variables(PyObject *Py_UNUSED(module), PyObject *frame)
{
    if (!PyFrame_Check(frame)) {
        PyErr_SetString(PyExc_TypeError, "not a frame");
        return NULL;
    }
    PyObject *variables = PyDict_New();
    if (variables != NULL && keep_variables(variables, (PyFrameObject *)frame) < 0) {
        Py_CLEAR(variables);
    }
    return variables;
}

PyMethodDef frame_functions[] = {
    {"frame_variables", frame_variables, METH_O, "Return the variables of a function's frame that are set, by name."},
    {NULL, NULL, 0, NULL},
};
