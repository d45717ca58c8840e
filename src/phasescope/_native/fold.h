/* What a summary in the making knows; see fold.c. The names are those of analysis/summary/packed_summary.py. */
#ifndef PHASESCOPE_FOLD_H
#define PHASESCOPE_FOLD_H

#include "core.h"
#include "plain.h"

enum { REMEMBERED_KINDS = 64, LONGEST_DEVICE = 4096 };

typedef struct {
    PyObject *payloads, *form, *known, *untold, *newest_at, *opened, *spans, *raised, *add_event;
    PyObject *newest_counts, *note_retries;
    PyTypeObject *kind_class;
    Py_ssize_t deltas, durations, ends, highest, node, path, reserved, risen, risen_outside, slack;
    Py_ssize_t max_opened;
    int is_watched, wants_ends, is_first, is_lines;
    /* The device of the boundary before. */
    Slice device;
    unsigned char device_bytes[LONGEST_DEVICE];
    PyObject *label, *kinds;
    int knows_allocated;
    Py_ssize_t newest;
    struct {
        Slice path;
        PyObject *kind;
    } remembered[REMEMBERED_KINDS];
    int64_t last_parent;
    Slice last_parent_id;
    int has_last_parent;
    Py_ssize_t entries, exits, damaged;
    int64_t first_ns, last_ns;
} Fold;

static inline int
is_same(Slice one, Slice other)
{
    return one.data != NULL && one.size == other.size && memcmp(one.data, other.data, one.size) == 0;
}

static inline PyObject *
bytes_of(Slice slice)
{
    return PyBytes_FromStringAndSize((const char *)slice.data, (Py_ssize_t)slice.size);
}

static inline PyObject *
text_of(Slice slice)
{
    return PyUnicode_DecodeASCII((const char *)slice.data, (Py_ssize_t)slice.size, NULL);
}

int note_highest(PyObject *kind, Py_ssize_t offset, int64_t value);
int note_allocated(Fold *f, PyObject *kind, int64_t allocated);
int note_exit(Fold *f, PyObject *kind, const Plain *event, PyObject *scope, Py_ssize_t at);
int note_enter(Fold *f, PyObject *kind, const Plain *event, PyObject *scope);
int note_parent(Fold *f, PyObject *kind, const Plain *event);

/* `newest` are the device's counts so far. */
int note_counts(Fold *f, PyObject *newest, PyObject *kind, const Plain *event);

#endif
