/* What the rooms of the compiled core know of each other.
 *
 * The core does the regular case of what runs at every phase boundary. Each of its types holds the slots of a Python
 * class, which derives from it and stays complete by itself: whatever is not regular is found out before anything was
 * changed, and left to that class.
 */
#ifndef PHASESCOPE_CORE_H
#define PHASESCOPE_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <structmember.h>

#include "kernel_file.h"
#include "records.h"

/* Counts up, here and in `__init__.py`, whenever what Python asks of the core changes. */
enum { CORE_INTERFACE = 18 };

/* The states of a writer, as capture/event_writer.py has them. */
enum { WRITER_FREE = 0, WRITER_BUSY = 1, WRITER_CLOSED = 2 };

/* How a ring is stored into; see wire/guarded_ring.py. */
enum { STORE_NOT_HERE = 0, STORE_DIRECTLY = 1, STORE_CHECKED = 2, STORE_BY_KERNEL = 3 };

enum { MOST_PAYLOAD = 3072 }; /* of an event that is encoded here; a longer one is Python's */

struct OpenPhases;

/* The slots of capture/scope.py's PhaseScope. */
typedef struct Scope {
    PyObject_HEAD
    PyObject *phase_name;
    PyObject *phase_attributes;
    PyObject *event_writer;
    PyObject *phase_path;
    PyObject *parent_scope;
    PyObject *entering_thread;
    PyObject *device_state;
    PyObject *measure_marks;
    PyObject *reentry_of;
    long long allocated_on_entry;
    long long entered_ns;
    long long enter_sequence;
    int mask_on_entry;
    char is_open;
    char is_left; /* closed, and may still be what a context variable holds: it is passed over there; see phase.c */
    struct OpenPhases *listed_in; /* NULL: in none, and the next two are unset */
    struct Scope *before, *behind;
} Scope;

/* What a writer has as `open`; see open_phases.c. */
typedef struct OpenPhases {
    PyObject_HEAD
    Scope *first, *last;
    Py_ssize_t count;
} OpenPhases;

/* Those of capture/event_writer.py's EventWriter that a boundary needs. */
typedef struct {
    PyObject_HEAD
    PyObject *now;
    PyObject *open;
    PyObject *ring;
    PyObject *collectors;
    long long sequence;
    PyObject *watch;      /* called at ends of phases; NULL or None: nothing is */
    PyObject *watch_path; /* of these alone, and then when as many as `watch_left` have come; None: of all */
    long long watch_left;
    PyObject *asked; /* called at ends of all phases, after `watch`; NULL or None: nothing is */
    long long offset_ns;
    int state;
} Writer;

enum { HEAD_OFFSET = 64, HEARTBEAT_OFFSET = 80, DROPPED_OFFSET = 96, LIVE_END = 104 }; /* as wire/ring.py has them */

/* A ring's file, by which it is seen whether it is still whole: by value, for a look without the interpreter's lock. */
typedef struct {
    KernelFile file; /* none: nobody can take its pages away */
    long long size;
    char header[HEAD_OFFSET];
} RingFile;

/* Those of wire/ring.py's RingWriter that an append needs, and where it stores. */
typedef struct {
    PyObject_HEAD
    Py_buffer view;
    Py_buffer source;
    long long at;
    long long limit;
    long long base;
    unsigned long long sequence;
    int source_fd;
    int mode;
    char may_beat; /* whether signs of life may be stored here too */
    RingFile file;
} Ring;

struct Context;

typedef struct {
    struct Context *context; /* it lives as long as the process */
    PyTypeObject *scope_type;
    PyTypeObject *writer_type;
    PyTypeObject *open_type;
    PyTypeObject *ring_type;
    PyTypeObject *resident_type;
    PyTypeObject *host_type;
    PyTypeObject *sampler_type;
} CoreState;

/* The name of a slot is not a name in C: these give the place of one that a Python class has, or -1 with an error. */
Py_ssize_t slot_offset(PyObject *type, const char *name);

static inline PyObject *
slot_at(PyObject *object, Py_ssize_t offset)
{
    return *(PyObject **)((char *)object + offset);
}

int make_context(CoreState *state);
PyTypeObject *make_scope_type(PyObject *module);
PyTypeObject *make_writer_type(PyObject *module);
PyTypeObject *make_open_type(PyObject *module);
PyTypeObject *make_ring_type(PyObject *module);
PyTypeObject *make_resident_type(PyObject *module);
PyTypeObject *make_host_type(PyObject *module);
PyTypeObject *make_sampler_type(PyObject *module);

/* Put an open phase behind all others, and take one out of the list that it is in. */
void list_open(OpenPhases *open, Scope *scope);
void unlist_open(Scope *scope);

/* Whether a record can be appended here and now; `payload` lies RECORD_HEADER bytes behind the start of `record`. */
int ring_append(Ring *ring, unsigned char *record, size_t payload_size);

/* Whether the file is as long as the ring, and still begins with its header. */
int ring_is_whole(const RingFile *file);

/* Store a sign of life; 0 where it is Python's to store. */
int ring_beat(Ring *ring, uint64_t now_ns, uint64_t dropped);

/* The resident set in bytes, or -1 if the file does not state it. */
long long resident_bytes(PyObject *resident);

/* The same, and how much of it is shared. */
long long resident_and_shared_bytes(PyObject *resident, long long *shared);

/* The same for a boundary that is reached now: where the one before, of the same thread, has read it after `after_ns`
 * and no longer ago than boundaries that touch are apart, that reading serves this one too.
 */
long long resident_bytes_at(PyObject *resident, long long now_ns, long long after_ns);

int scope_traverse(PyObject *object, visitproc visit, void *arg);
int scope_clear(PyObject *object);
void scope_dealloc(PyObject *object);

/* Let all phases go the Python way from now on, or the compiled one again. */
void interpret_phases(PyObject *module, int flag);

extern PyMethodDef phase_functions[];
extern PyMethodDef collection_functions[];
extern PyMethodDef packing_functions[];
extern PyMethodDef record_functions[];
extern PyMethodDef fold_functions[];
extern PyMethodDef row_functions[];
extern PyMethodDef line_row_functions[];
extern PyMethodDef bucket_functions[];
extern PyMethodDef census_functions[];
extern PyMethodDef ways_functions[];
extern PyMethodDef frame_functions[];
extern PyMethodDef thread_functions[];

#endif
