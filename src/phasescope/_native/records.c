/* Reading: the records of a segment, checked and cut out in one call. What is no true record is for
 * wire/record_reader.py to judge.
 */
#include "core.h"
#include "records.h"

/* following(data, at, position, sequence, is_big_endian, records, is_numbered) -> (at, sequence)
 *
 * Appends each record from `at` on that has the number after the one before, and gives the place behind the last and
 * its number. `position` is that of the first byte of `data`.
 */
static PyObject *
following(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer data;
    Py_ssize_t at;
    unsigned long long position, sequence;
    int is_big_endian, is_numbered;
    PyObject *records;
    if (!PyArg_ParseTuple(
            args, "y*nKKpO!p", &data, &at, &position, &sequence, &is_big_endian, &PyList_Type, &records, &is_numbered)) {
        return NULL;
    }
    const unsigned char *bytes = data.buf;
    PyObject *result = NULL;
    long length;
    while (at >= 0
           && (length = payload_length(bytes, (size_t)data.len, (size_t)at, position, sequence + 1, is_big_endian)) >= 0) {
        PyObject *payload = PyBytes_FromStringAndSize((const char *)bytes + at + RECORD_HEADER, (Py_ssize_t)length);
        PyObject *record = payload == NULL || !is_numbered ? payload : Py_BuildValue("KN", sequence + 1, payload);
        if (record == NULL || PyList_Append(records, record) < 0) {
            Py_XDECREF(record);
            goto done;
        }
        Py_DECREF(record);
        sequence++;
        at += RECORD_HEADER + (Py_ssize_t)length;
    }
    result = Py_BuildValue("nK", at, sequence);
done:
    PyBuffer_Release(&data);
    return result;
}

/* line_ends(data) -> (count, are_objects): how many lines there are, and whether nothing but `}` and `{` is around the
 * ends between them.
 */
static PyObject *
line_ends(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer data;
    if (!PyArg_ParseTuple(args, "y*", &data)) {
        return NULL;
    }
    const char *start = data.buf, *end = start + data.len, *at = start;
    Py_ssize_t count = 1;
    int are_objects = 1;
    while (at < end && (at = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        are_objects = are_objects && at > start && at[-1] == '}' && at + 1 < end && at[1] == '{';
        at++;
        count++;
    }
    PyBuffer_Release(&data);
    return Py_BuildValue("nO", count, are_objects ? Py_True : Py_False);
}

/* crc32(data, start) -> int, as zlib's. */
static PyObject *
crc32(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer data;
    unsigned int start = 0;
    if (!PyArg_ParseTuple(args, "y*|I", &data, &start)) {
        return NULL;
    }
    uint32_t crc = crc32_of(data.buf, (size_t)data.len, start);
    PyBuffer_Release(&data);
    return PyLong_FromUnsignedLong(crc);
}

PyMethodDef record_functions[] = {
    {"following", following, METH_VARARGS, "Cut out the records that follow each other by number."},
    {"line_ends", line_ends, METH_VARARGS, "Count lines, and tell whether they are objects."},
    {"crc32", crc32, METH_VARARGS, "Return zlib's crc32."},
    {NULL, NULL, 0, NULL},
};
