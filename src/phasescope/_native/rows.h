/* Rows of a table in the making: figures in buffers that pyarrow takes, and the metadata as JSON text. What is not plain,
 * or the first of its kind, is asked for in Python; see recordings/packed_rows.py, whose names are these.
 */
#ifndef PHASESCOPE_ROWS_H
#define PHASESCOPE_ROWS_H

#include "core.h"
#include "plain.h"

enum { REMEMBERED = 64, FIGURES = 12, MAYBE = 8, BUFFERS = 3 + FIGURES + MAYBE, LONGEST_KEY = 4096 };
enum { PLACES = 0, FIRST_FIGURE = 1, FIRST_BITMAP = 1 + FIGURES, OFFSETS = BUFFERS - 2, METADATA = BUFFERS - 1 };

/* The figures in the order of their buffers. */
enum { TIMESTAMP, ALLOCATED, RESERVED, ACTIVE, INACTIVE, CHANGE, DURATION, DELTA, PEAK, SEQUENCE, ENTRY, PARENT };

typedef struct {
    long place;
    int64_t figures[FIGURES];
    int is_known[FIGURES];
} Row;

typedef struct {
    Py_buffer data;
    PyObject *kinds, *add_event;
    PyObject *buffers[BUFFERS];
    Py_ssize_t rows, room, text_size;
    Slice device, thread;
    unsigned char device_bytes[LONGEST_KEY]; /* what is found again need not lie where it lay before */
    PyObject *of_device;                     /* the kinds entered, and those ended */
    struct {
        Slice path;
        PyObject *kind;
    } remembered[2][REMEMBERED];
} Rows;

static inline unsigned char *
put(unsigned char *at, const void *text, size_t size)
{
    memcpy(at, text, size);
    return at + size;
}

#define PUT(at, text) put(at, text, sizeof text - 1)

static inline unsigned char *
put_bytes(unsigned char *at, PyObject *bytes)
{
    return put(at, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
}

static inline unsigned char *
rows_buffer(Rows *r, int which)
{
    return (unsigned char *)PyByteArray_AS_STRING(r->buffers[which]);
}

/* Take the buffers, which have this many rows and bytes of text already, and room for more. */
int rows_begin(Rows *r, PyObject *buffers, Py_ssize_t rows, Py_ssize_t text_size);
/* Make room for one more row, and for `text` bytes of metadata: where Python code ran, the buffers may be others. */
int rows_room(Rows *r, size_t text);
/* Add the row whose text ends at `text_size`. */
void rows_add(Rows *r, const Row *row);
/* Add the row that Python has told: its place, figures and metadata, or None where there is none. */
int rows_add_told(Rows *r, PyObject *told);
/* The kind of this boundary, borrowed, or NULL where it is not known yet, or with an error; `kinds` are then those that
 * it is to be in.
 */
PyObject *rows_kind(Rows *r, const Plain *event, PyObject **kinds);
/* Find it by this path from now on. */
void rows_remember(Rows *r, const Plain *event, PyObject *kind);
/* Let go of what was found: Python may take kinds out of their dict. */
void rows_forget(Rows *r);

/* Row of a boundary but for its place. */
static inline Row
row_of(const Plain *event)
{
    return (Row){
        .figures = {event->time_ns, event->allocated, event->reserved, event->active, event->inactive, event->change,
                    event->duration_ns, event->allocated_delta, event->peak, event->sequence,
                    event->has_scope ? event->scope : event->sequence, event->parent},
        .is_known = {1, 1, 1, event->has_active, event->has_inactive, 1, event->has_duration, event->has_delta,
                     event->has_peak, 1, 1, event->has_parent},
    };
}

#endif
