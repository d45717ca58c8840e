/* Where other threads are in their code, read in one go.
 *
 * Python's own way, `sys._current_frames()` and `f_back`, makes an object for each frame, and on Python 3.11 and before
 * whatever makes an object may run the garbage collector. A finalizer that the collector calls may let other threads
 * run: the frame that was looked at is gone then, and is written to all the same; and the list of the threads is locked
 * meanwhile, for which a thread that begins or ends waits with the interpreter's lock held. So the collector stands
 * still here, and nothing lets another thread run until all is read.
 */
#include <Python.h>

#if PY_VERSION_HEX < 0x030B0000
#include <frameobject.h>
#endif

#include "core.h"

enum { MOST_SPOTS = 200, MOST_FRAMES = 100000 };

#if PY_VERSION_HEX < 0x030C0000
#define HOLD_COLLECTOR() int was_collecting = PyGC_Disable()
#define RELEASE_COLLECTOR() (was_collecting ? (void)PyGC_Enable() : (void)0)
#else /* it runs between two instructions only */
#define HOLD_COLLECTOR() ((void)0)
#define RELEASE_COLLECTOR() ((void)0)
#endif

static int
offset_in(PyFrameObject *frame)
{
#if PY_VERSION_HEX >= 0x030B0000
    return PyFrame_GetLasti(frame);
#else
    return frame->f_lasti < 0 ? -1 : frame->f_lasti * (int)sizeof(_Py_CODEUNIT);
#endif
}

/* Put (identity, code, offset) behind what the list has. */
static int
append_spot(PyObject *spots, PyFrameObject *frame, int offset)
{
    PyCodeObject *code = PyFrame_GetCode(frame);
    PyObject *spot = Py_BuildValue("NNi", PyLong_FromVoidPtr(frame), code, offset);
    int result = spot == NULL ? -1 : PyList_Append(spots, spot);
    Py_XDECREF(spot);
    return result;
}

/* Return a thread's frames, the innermost first; with more of them than `most`, the innermost of them. */
static PyObject *
frames_of(PyThreadState *thread, Py_ssize_t most)
{
    PyObject *frames = PyList_New(0);
    PyFrameObject *frame = frames == NULL ? NULL : PyThreadState_GetFrame(thread);
    while (frame != NULL) {
        if (PyList_Append(frames, (PyObject *)frame) < 0) {
            Py_CLEAR(frames);
        }
        PyFrameObject *caller = frames == NULL || PyList_GET_SIZE(frames) >= most ? NULL : PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = caller;
    }
    if (frames != NULL && PyErr_Occurred()) {
        Py_CLEAR(frames);
    }
    return frames;
}

/* Return the spots of these frames, from the one at `innermost` on, the outermost first. */
static PyObject *
spots_of(PyObject *frames, Py_ssize_t innermost)
{
    PyObject *spots = PyList_New(0);
    for (Py_ssize_t index = PyList_GET_SIZE(frames); spots != NULL && index-- > innermost;) {
        PyFrameObject *frame = (PyFrameObject *)PyList_GET_ITEM(frames, index);
        if (append_spot(spots, frame, offset_in(frame)) < 0) {
            Py_CLEAR(spots);
        }
    }
    return spots;
}

/* Return the traceback of the exception that a thread handles now, a new reference, or NULL if there is none. */
static PyObject *
handled_trace(PyThreadState *thread)
{
    _PyErr_StackItem *item = thread->exc_info;
    while (item != NULL && (item->exc_value == NULL || item->exc_value == Py_None) && item->previous_item != NULL) {
        item = item->previous_item;
    }
    if (item == NULL || item->exc_value == NULL || !PyExceptionInstance_Check(item->exc_value)) {
        return NULL;
    }
#if PY_VERSION_HEX >= 0x030B0000
    return PyException_GetTraceback(item->exc_value);
#else
    Py_XINCREF(item->exc_traceback);
    return item->exc_traceback;
#endif
}

/* Return the spots on which the exception was raised that a thread with these frames handles; none if it does not. */
static PyObject *
raised_in(PyThreadState *thread, PyObject *frames)
{
    PyObject *trace = handled_trace(thread);
    if (trace == NULL || !PyTraceBack_Check(trace)) {
        Py_XDECREF(trace);
        return PyList_New(0);
    }
    PyTracebackObject *entry = (PyTracebackObject *)trace;
    Py_ssize_t around = PyList_GET_SIZE(frames); /* the frames around the one that caught it */
    for (Py_ssize_t index = 0; index < PyList_GET_SIZE(frames); index++) {
        if (PyList_GET_ITEM(frames, index) == (PyObject *)entry->tb_frame) {
            around = index + 1;
            break;
        }
    }
    PyObject *spots = spots_of(frames, around);
    for (int count = 0; spots != NULL && entry != NULL && count < MOST_SPOTS; count++, entry = entry->tb_next) {
        if (append_spot(spots, entry->tb_frame, entry->tb_lasti) < 0) {
            Py_CLEAR(spots);
        }
    }
    Py_DECREF(trace);
    return spots;
}

/* Return both lists of spots; both are empty if the stack is too deep to be looked at. */
static PyObject *
stacks_of(PyThreadState *thread)
{
    PyObject *frames = frames_of(thread, MOST_SPOTS + 1);
    if (frames == NULL) {
        return NULL;
    }
    PyObject *stack, *raised;
    if (PyList_GET_SIZE(frames) > MOST_SPOTS) {
        stack = PyList_New(0), raised = PyList_New(0);
    }
    else {
        stack = spots_of(frames, 0), raised = stack == NULL ? NULL : raised_in(thread, frames);
    }
    Py_DECREF(frames);
    if (stack == NULL || raised == NULL) {
        Py_XDECREF(stack);
        Py_XDECREF(raised);
        return NULL;
    }
    return Py_BuildValue("NN", stack, raised);
}

static PyObject *
all_frames_of(PyThreadState *thread)
{
    return frames_of(thread, MOST_FRAMES);
}

/* Return a dict of what `look` says of each thread, by its identifier; of those in `wanted` only if that is a set. */
static PyObject *
of_threads(PyObject *wanted, PyObject *(*look)(PyThreadState *))
{
    PyObject *answers = PyDict_New();
    if (answers == NULL) {
        return NULL;
    }
    HOLD_COLLECTOR();
    PyThreadState *thread = PyInterpreterState_ThreadHead(PyInterpreterState_Get());
    for (; answers != NULL && thread != NULL; thread = PyThreadState_Next(thread)) {
        PyObject *ident = PyLong_FromUnsignedLong(thread->thread_id);
        int is_wanted = ident == NULL ? -1 : wanted == NULL ? 1 : PySet_Contains(wanted, ident);
        PyObject *answer = is_wanted > 0 ? look(thread) : NULL;
        if (is_wanted < 0 || (is_wanted > 0 && (answer == NULL || PyDict_SetItem(answers, ident, answer) < 0))) {
            Py_CLEAR(answers);
        }
        Py_XDECREF(answer);
        Py_XDECREF(ident);
    }
    RELEASE_COLLECTOR();
    return answers;
}

static PyObject *
thread_frames(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return of_threads(NULL, all_frames_of);
}

static PyObject *
thread_stacks(PyObject *Py_UNUSED(module), PyObject *threads)
{
    if (!PyAnySet_Check(threads)) {
        PyErr_SetString(PyExc_TypeError, "threads must be a set of identifiers");
        return NULL;
    }
    return of_threads(threads, stacks_of);
}

PyMethodDef thread_functions[] = {
    {"thread_frames", thread_frames, METH_NOARGS, "Return the frames of each thread, the innermost first."},
    {"thread_stacks", thread_stacks, METH_O,
     "Return where each of these threads is, and where the exception was raised that it handles, outermost first."},
    {NULL, NULL, 0, NULL},
};
