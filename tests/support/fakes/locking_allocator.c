/* The locks of torch's caching allocator around one that calls Python, and nothing else of it.
 *
 * memory_stats() waits for the allocator's mutex with the interpreter's lock held, as torch._C._cuda_memoryStats does.
 * allocate(callback) lets go of the interpreter's lock, as torch's operators do, takes the mutex, and calls back into
 * Python from under it, as a pool with Python callbacks does.
 */
#include <Python.h>
#include <pthread.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static PyObject *memory_stats(PyObject *self, PyObject *device) {
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
    Py_RETURN_NONE;
}

static PyObject *allocate(PyObject *self, PyObject *callback) {
    PyObject *result = NULL;
    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(&mutex);
    PyGILState_STATE state = PyGILState_Ensure();
    result = PyObject_CallNoArgs(callback);
    PyGILState_Release(state);
    pthread_mutex_unlock(&mutex);
    Py_END_ALLOW_THREADS
    return result;
}

static PyObject *hold(PyObject *self, PyObject *seconds) {
    double wanted = PyFloat_AsDouble(seconds);
    struct timespec pause = {(time_t)wanted, (long)((wanted - (time_t)wanted) * 1e9)};
    Py_BEGIN_ALLOW_THREADS
    pthread_mutex_lock(&mutex);
    nanosleep(&pause, NULL);
    pthread_mutex_unlock(&mutex);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"memory_stats", memory_stats, METH_O, NULL},
    {"allocate", allocate, METH_O, NULL},
    {"hold", hold, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "locking_allocator", NULL, -1, methods};

PyMODINIT_FUNC PyInit_locking_allocator(void) { return PyModule_Create(&module); }
