/* Percentiles: what analysis/statistics/quantiles.py does with each of its values. */
#include "core.h"

#include <math.h>

enum { MOST_BUCKETS = 1 << 14, ZERO = -1 };

static int
add_bucket(PyObject *counts, int bucket, Py_ssize_t count)
{
    PyObject *key = PyLong_FromLong(bucket), *value = PyLong_FromSsize_t(count);
    int result = key == NULL || value == NULL ? -1 : PyDict_SetItem(counts, key, value);
    Py_XDECREF(key);
    Py_XDECREF(value);
    return result;
}

/* log_buckets(values, scale) -> {bucket: count}, the buckets in the order in which they first occur: sums over them are
 * rounded in that order. `values` are an array of 64-bit integers.
 */
static PyObject *
log_buckets(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer values;
    double scale;
    if (!PyArg_ParseTuple(args, "y*d", &values, &scale)) {
        return NULL;
    }
    static const double most = MOST_BUCKETS - 2;
    PyObject *counts = PyDict_New();
    Py_ssize_t *count = PyMem_Calloc(MOST_BUCKETS, sizeof *count);
    int *order = PyMem_Malloc(MOST_BUCKETS * sizeof *order), found = 0;
    if (count == NULL || order == NULL || counts == NULL) {
        PyErr_NoMemory();
        goto fail;
    }
    for (Py_ssize_t at = 0; at + 8 <= values.len; at += 8) {
        int64_t value;
        memcpy(&value, (const char *)values.buf + at, 8);
        double bucket = value > 0 ? ceil(log((double)value) * scale) : ZERO;
        if (!(bucket >= ZERO && bucket <= most)) {
            PyErr_SetString(PyExc_ValueError, "too fine a scale");
            goto fail;
        }
        int place = (int)bucket - ZERO;
        if (count[place]++ == 0) {
            order[found++] = place;
        }
    }
    for (int index = 0; index < found; index++) {
        if (add_bucket(counts, order[index] + ZERO, count[order[index]]) < 0) {
            goto fail;
        }
    }
    goto done;
fail:
    Py_CLEAR(counts);
done:
    PyMem_Free(count);
    PyMem_Free(order);
    PyBuffer_Release(&values);
    return counts;
}

PyMethodDef bucket_functions[] = {
    {"log_buckets", log_buckets, METH_VARARGS, "Count values in buckets whose bounds grow geometrically."},
    {NULL, NULL, 0, NULL},
};
