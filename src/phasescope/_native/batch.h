/* What Python hands over to be read: a segment's payloads where they lie, or lines and what they have in common. */
#ifndef PHASESCOPE_BATCH_H
#define PHASESCOPE_BATCH_H

#include "core.h"
#include "line.h"

/* The payload of this number; its data are NULL where it does not lie within. */
static inline Slice
span_at(const Py_buffer *data, const Py_buffer *spans, Py_ssize_t at)
{
    uint32_t span[2];
    memcpy(span, (const char *)spans->buf + at * SPAN_BYTES, sizeof span);
    int is_inside = (uint64_t)span[0] + span[1] <= (uint64_t)data->len;
    return is_inside ? (Slice){(const unsigned char *)data->buf + span[0], span[1]} : (Slice){NULL, 0};
}

/* The three texts of `LineUnpack.form`; 0 where there are none yet. */
static inline int
line_form(PyObject *form, LineText *text)
{
    Slice *slices[] = {&text->head, &text->middle, &text->tail};
    if (PyList_GET_SIZE(form) != 3) {
        return 0;
    }
    for (int index = 0; index < 3; index++) {
        PyObject *bytes = PyList_GET_ITEM(form, index);
        if (!PyBytes_CheckExact(bytes)) {
            return 0;
        }
        *slices[index] = (Slice){(const unsigned char *)PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes)};
    }
    return 1;
}

#endif
