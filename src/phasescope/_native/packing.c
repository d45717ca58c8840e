/* encode(): the values of an event that is not a plain boundary, as a ring payload; the bytes that msgspec makes. */
#include "core.h"
#include "msgpack.h"

enum { ON_STACK = 1024, DEEPEST = 64 };

typedef struct {
    unsigned char *data;
    size_t size, room;
    unsigned char first[ON_STACK];
} Packed;

/* Where the next `size` bytes go, or NULL with an error. What is written there counts once `size` is moved on. */
static unsigned char *
room_for(Packed *packed, size_t size)
{
    if (packed->room - packed->size < size) {
        size_t room = 2 * packed->room + size;
        unsigned char *data = PyMem_Malloc(room);
        if (data == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        memcpy(data, packed->data, packed->size);
        if (packed->data != packed->first) {
            PyMem_Free(packed->data);
        }
        packed->data = data;
        packed->room = room;
    }
    return packed->data + packed->size;
}

static int
put_bytes(Packed *packed, const char *bytes, size_t size)
{
    unsigned char *at = room_for(packed, size);
    if (at == NULL) {
        return -1;
    }
    packed->size = (size_t)(pack_raw(at, bytes, size) - packed->data);
    return 0;
}

static int
put_text(Packed *packed, PyObject *text)
{
    Py_ssize_t size;
    const char *bytes = PyUnicode_AsUTF8AndSize(text, &size);
    unsigned char *at = bytes == NULL ? NULL : room_for(packed, (size_t)size + TEXT_BYTES);
    if (at == NULL) {
        return -1;
    }
    packed->size = (size_t)(pack_text(at, bytes, (size_t)size) - packed->data);
    return 0;
}

static int
put_integer(Packed *packed, PyObject *number)
{
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
    unsigned char *at = room_for(packed, NUMBER_BYTES);
    if (at == NULL || (value == -1 && PyErr_Occurred())) {
        return -1;
    }
    if (overflow <= 0) {
        if (overflow < 0) {
            PyErr_SetString(PyExc_OverflowError, "an int below -2**63");
            return -1;
        }
        at = pack_integer(at, value);
    }
    else {
        unsigned long long large = PyLong_AsUnsignedLongLong(number);
        if (large == (unsigned long long)-1 && PyErr_Occurred()) {
            return -1;
        }
        at = pack_unsigned(at, large);
    }
    packed->size = (size_t)(at - packed->data);
    return 0;
}

static int
put_plain(Packed *packed, int byte)
{
    unsigned char *at = room_for(packed, 1);
    if (at == NULL) {
        return -1;
    }
    packed->size = (size_t)(pack_byte(at, byte) - packed->data);
    return 0;
}

static int
put_float(Packed *packed, PyObject *number)
{
    unsigned char *at = room_for(packed, NUMBER_BYTES);
    if (at == NULL) {
        return -1;
    }
    packed->size = (size_t)(pack_double(at, PyFloat_AS_DOUBLE(number)) - packed->data);
    return 0;
}

/* The length of an array or a map: in the low bits of `few`, or behind `many` or the mark after that. */
static int
put_length(Packed *packed, int few, int many, Py_ssize_t length)
{
    unsigned char *at = room_for(packed, NUMBER_BYTES);
    if (at == NULL) {
        return -1;
    }
    if (length < 16) {
        at = pack_byte(at, few | (int)length);
    }
    else if (length <= 0xFFFF) {
        at = pack_big_endian(at, many, (uint64_t)length, 2);
    }
    else if (length <= 0xFFFFFFFF) {
        at = pack_big_endian(at, many + 1, (uint64_t)length, 4);
    }
    else {
        PyErr_SetString(PyExc_ValueError, "too many values");
        return -1;
    }
    packed->size = (size_t)(at - packed->data);
    return 0;
}

static int put_value(Packed *packed, PyObject *value, int depth);

static int
put_dict(Packed *packed, PyObject *dict, int depth)
{
    PyObject *key, *value;
    Py_ssize_t place = 0;
    if (put_length(packed, 0x80, 0xDE, PyDict_GET_SIZE(dict)) < 0) {
        return -1;
    }
    while (PyDict_Next(dict, &place, &key, &value)) { /* nothing in here runs Python code that could change it */
        if (!PyUnicode_CheckExact(key)) {
            PyErr_SetString(PyExc_TypeError, "a key of an event is text");
            return -1;
        }
        if (put_text(packed, key) < 0 || put_value(packed, value, depth) < 0) {
            return -1;
        }
    }
    return 0;
}

static int
put_items(Packed *packed, PyObject *items, int depth)
{
    if (put_length(packed, 0x90, 0xDC, PySequence_Fast_GET_SIZE(items)) < 0) {
        return -1;
    }
    for (Py_ssize_t index = 0; index < PySequence_Fast_GET_SIZE(items); index++) {
        if (put_value(packed, PySequence_Fast_GET_ITEM(items, index), depth) < 0) {
            return -1;
        }
    }
    return 0;
}

static int
put_value(Packed *packed, PyObject *value, int depth)
{
    if (value == Py_None) {
        return put_plain(packed, PACKED_NIL);
    }
    if (PyUnicode_CheckExact(value)) {
        return put_text(packed, value);
    }
    if (PyBool_Check(value)) {
        return put_plain(packed, value == Py_True ? PACKED_TRUE : PACKED_FALSE);
    }
    if (PyLong_CheckExact(value)) {
        return put_integer(packed, value);
    }
    if (PyFloat_CheckExact(value)) {
        return put_float(packed, value);
    }
    if (depth == 1 && PyBytes_CheckExact(value)) { /* a part that is packed already; an event has no other bytes */
        return put_bytes(packed, PyBytes_AS_STRING(value), (size_t)PyBytes_GET_SIZE(value));
    }
    if (depth == DEEPEST) {
        PyErr_SetString(PyExc_RecursionError, "an event that is nested too deeply");
        return -1;
    }
    if (PyDict_Check(value)) {
        return put_dict(packed, value, depth + 1);
    }
    if (PyList_Check(value) || PyTuple_Check(value)) {
        return put_items(packed, value, depth + 1);
    }
    PyErr_Format(PyExc_TypeError, "an event has no place for %.100s", Py_TYPE(value)->tp_name);
    return -1;
}

static PyObject *
encode(PyObject *Py_UNUSED(module), PyObject *values)
{
    Packed packed;
    packed.data = packed.first;
    packed.size = 0;
    packed.room = sizeof packed.first;
    int result = put_value(&packed, values, 0);
    PyObject *payload = result < 0 ? NULL : PyBytes_FromStringAndSize((const char *)packed.data, (Py_ssize_t)packed.size);
    if (packed.data != packed.first) {
        PyMem_Free(packed.data);
    }
    return payload;
}

PyMethodDef packing_functions[] = {
    {"encode", encode, METH_O, "Return values as MessagePack; bytes among them are packed already, and copied."},
    {NULL, NULL, 0, NULL},
};
