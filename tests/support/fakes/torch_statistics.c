/* torch._C._cuda_memoryStats as torch 2.13 builds its answer: every dict, key and number afresh at each call.
 *
 * torch's binding makes each key out of a C string and stores it by PyObject_SetItem, and so does this. It stands for
 * the cost, and for the shape; the figures are constants but for `current` and `peak` of what is allocated.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static int
put(PyObject *dict, PyObject *key, PyObject *value)
{
    int result = key == NULL || value == NULL ? -1 : PyObject_SetItem(dict, key, value);
    Py_XDECREF(key);
    Py_XDECREF(value);
    return result;
}

static int
put_number(PyObject *dict, const char *key, long long value)
{
    return put(dict, PyUnicode_FromString(key), PyLong_FromLongLong(value));
}

static PyObject *
one(long long current, long long peak)
{
    PyObject *dict = PyDict_New();
    if (dict != NULL
        && (put_number(dict, "current", current) < 0 || put_number(dict, "peak", peak) < 0
            || put_number(dict, "allocated", 9 * peak) < 0 || put_number(dict, "freed", 9 * peak - current) < 0)) {
        Py_CLEAR(dict);
    }
    return dict;
}

static PyObject *
by_pool(long long current, long long peak)
{
    PyObject *dict = PyDict_New();
    if (dict != NULL
        && (put(dict, PyUnicode_FromString("all"), one(current, peak)) < 0
            || put(dict, PyUnicode_FromString("small_pool"), one(current / 4, peak / 4)) < 0
            || put(dict, PyUnicode_FromString("large_pool"), one(current - current / 4, peak - peak / 4)) < 0)) {
        Py_CLEAR(dict);
    }
    return dict;
}

static PyObject *
by_private_pool(long pools)
{
    PyObject *dict = PyDict_New();
    for (long pool = 0; dict != NULL && pool < pools; pool++) {
        if (put(dict, Py_BuildValue("ll", 0L, pool + 1), by_pool(1 << 21, 1 << 22)) < 0) {
            Py_CLEAR(dict);
        }
    }
    return dict;
}

/* memory_stats(allocated, peak, private_pools) -> dict */
static PyObject *
memory_stats(PyObject *Py_UNUSED(module), PyObject *args)
{
    static const char *const numbers[] = {"num_alloc_retries", "num_ooms", "max_split_size",
                                          "num_sync_all_streams", "num_device_alloc", "num_device_free",
                                          "num_oom_rejections"};
    static const char *const counts[] = {"allocation", "segment", "active", "inactive_split"};
    static const char *const bytes[] = {"allocated_bytes", "reserved_bytes", "active_bytes", "requested_bytes"};
    long long allocated, peak;
    long pools;
    if (!PyArg_ParseTuple(args, "LLl", &allocated, &peak, &pools)) {
        return NULL;
    }
    PyObject *dict = PyDict_New();
    int failed = dict == NULL;
    for (size_t index = 0; !failed && index < sizeof numbers / sizeof *numbers; index++) {
        failed = put_number(dict, numbers[index], (long long)index) < 0;
    }
    for (size_t index = 0; !failed && index < sizeof counts / sizeof *counts; index++) {
        failed = put(dict, PyUnicode_FromString(counts[index]), by_pool(1000, 2000)) < 0;
    }
    for (size_t index = 0; !failed && index < sizeof bytes / sizeof *bytes; index++) {
        failed = put(dict, PyUnicode_FromString(bytes[index]), by_pool(allocated, peak)) < 0;
    }
    failed = failed || put(dict, PyUnicode_FromString("inactive_split_bytes"), by_pool(1 << 20, 1 << 21)) < 0
        || put(dict, PyUnicode_FromString("reserved_bytes_by_private_pools"), by_private_pool(pools)) < 0
        || put(dict, PyUnicode_FromString("oversize_allocations"), one(0, 0)) < 0
        || put(dict, PyUnicode_FromString("oversize_segments"), one(0, 0)) < 0;
    if (failed) {
        Py_CLEAR(dict);
    }
    return dict;
}

static PyMethodDef functions[] = {
    {"memory_stats", memory_stats, METH_VARARGS, "Return what torch would for one device."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "torch_statistics", NULL, -1, functions,
                                        NULL, NULL, NULL, NULL};

PyMODINIT_FUNC
PyInit_torch_statistics(void)
{
    return PyModule_Create(&definition);
}
