/* What a summary in the making knows; see fold.c. The names are those of analysis/summary/packed_summary.py. */
#ifndef PHASESCOPE_FOLD_H
#define PHASESCOPE_FOLD_H

#include "core.h"
#include "plain.h"

enum { REMEMBERED_KINDS = 64, LONGEST_DEVICE = 4096, KEPT_OPEN = 64 };

/* A bytearray of a kind's that is added to: `used` of its bytes are true, the others are room. */
typedef struct {
    PyObject *bytes;
    Py_ssize_t used;
} Growing;

enum { DURATIONS, DELTAS, ENDS, GROWING };
enum { HIGHEST, RESERVED, SLACK, MAXIMA };

/* A kind, and what its slots are to have: they get it when `settle` is called, which is before any Python code runs that
 * looks at them.
 */
typedef struct {
    Slice path;
    PyObject *kind;
    int64_t maxima[MAXIMA];
    int is_higher[MAXIMA];
    Growing growing[GROWING];
} Kind;

/* A phase that is open, by its number, or by its id in lines. Where it is stored in `opened`, it has no path here. */
typedef struct {
    int64_t number, time_ns;
    Slice id;
    PyObject *path;
    int is_stored, was_entered;
} Open;

/* Where the open phases are: in `opened` alone, or all of them in `open` as well, in the same order. */
enum { OPEN_ANEW, OPEN_IN_DICT, OPEN_KEPT };

typedef struct {
    Py_buffer data, spans_of; /* the second one's `buf` is NULL: lines */
    PyObject *form, *known, *untold, *newest_at, *opened, *spans, *raised, *add_event;
    PyObject *newest_counts;
    PyTypeObject *kind_class;
    Py_ssize_t node, path, risen, risen_outside, maxima[MAXIMA], growing[GROWING];
    Py_ssize_t max_opened;
    int is_watched, wants_ends, is_first, is_lines;
    /* The device of the boundary before. */
    Slice device;
    unsigned char device_bytes[LONGEST_DEVICE];
    PyObject *label, *kinds;
    int knows_allocated;
    Py_ssize_t newest;
    Kind remembered[REMEMBERED_KINDS];
    Open open[KEPT_OPEN];
    int open_count, open_state;
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

/* 0, or -1 with an error, for the result of a call. */
static inline int
done(PyObject *result)
{
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* fold_kinds.c: the kind of this path on the device; NULL where it is not known yet, or with an error. */
Kind *find_kind(Fold *f, Slice path);
int note_maxima(Fold *f, Kind *kind, const Plain *event);
int note_ended(Fold *f, Kind *kind, const Plain *event, Py_ssize_t at);
/* Give all kinds what is theirs, and forget them. */
int settle_kinds(Fold *f);

/* fold_open.c */
int note_enter(Fold *f, PyObject *path, const Plain *event);
int note_left(Fold *f, const Plain *event);
int note_parent(Fold *f, PyObject *path, const Plain *event);
/* Store in `opened` whatever is open. */
int settle_open(Fold *f);

/* fold_counts.c; `newest` are the device's counts so far. */
int note_counts(Fold *f, PyObject *newest, PyObject *kind, const Plain *event);

#endif
