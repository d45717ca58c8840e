/* Reading: the records of a segment, checked and cut out in one call. What is no true record is for
 * wire/record_reader.py to judge.
 */
#include "core.h"
#include "records.h"

static int
append_record(PyObject *records, const unsigned char *payload, Py_ssize_t length, unsigned long long sequence)
{
    PyObject *record = Py_BuildValue("Ky#", sequence, (const char *)payload, length);
    int result = record == NULL ? -1 : PyList_Append(records, record);
    Py_XDECREF(record);
    return result;
}

/* Room for some more spans: they come a segment at a time, and are cut to size when all are there. */
static int
append_span(PyObject *spans, Py_ssize_t *count, Py_ssize_t start, long length)
{
    enum { MORE = 512 };
    if (PyByteArray_GET_SIZE(spans) < (*count + 1) * SPAN_BYTES
        && PyByteArray_Resize(spans, (*count + MORE) * SPAN_BYTES) < 0) {
        return -1;
    }
    const uint32_t span[] = {(uint32_t)start, (uint32_t)length};
    memcpy(PyByteArray_AS_STRING(spans) + (*count)++ * SPAN_BYTES, span, sizeof span);
    return 0;
}

/* following(data, at, position, sequence, is_big_endian, records) -> (at, sequence)
 *
 * Appends each record from `at` on that has the number after the one before, and gives the place behind the last and
 * its number. `position` is that of the first byte of `data`. `records` are a list, of numbers and payloads, or a
 * bytearray: of where each payload lies, see wire/payloads.py.
 */
static PyObject *
following(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer data;
    Py_ssize_t at, count = 0;
    unsigned long long position, sequence;
    int is_big_endian;
    PyObject *records;
    if (!PyArg_ParseTuple(args, "y*nKKpO", &data, &at, &position, &sequence, &is_big_endian, &records)) {
        return NULL;
    }
    const unsigned char *bytes = data.buf;
    PyObject *result = NULL;
    int are_spans = PyByteArray_CheckExact(records);
    if ((!are_spans && !PyList_CheckExact(records)) || data.len > UINT32_MAX) {
        PyErr_SetString(PyExc_TypeError, "records must be a list or a bytearray");
        goto done;
    }
    count = are_spans ? PyByteArray_GET_SIZE(records) / SPAN_BYTES : 0;
    long length;
    while (at >= 0
           && (length = payload_length(bytes, (size_t)data.len, (size_t)at, position, sequence + 1, is_big_endian)) >= 0) {
        sequence++;
        if ((are_spans ? append_span(records, &count, at + RECORD_HEADER, length)
                       : append_record(records, bytes + at + RECORD_HEADER, length, sequence))
            < 0) {
            goto done;
        }
        at += RECORD_HEADER + (Py_ssize_t)length;
    }
    if (!are_spans || PyByteArray_Resize(records, count * SPAN_BYTES) == 0) {
        result = Py_BuildValue("nK", at, sequence);
    }
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
