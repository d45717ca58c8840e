/* What the rooms of the compiled phase share: the classes, names and places of slots that one loading of the package has
 * made known. phase_setup.c fills it.
 */
#ifndef PHASESCOPE_PHASE_CONTEXT_H
#define PHASESCOPE_PHASE_CONTEXT_H

#include "core.h"

enum { REMEMBERED_THREADS = 16 };

/* Objects of each kind that have ended and serve again; none where a use after the end shall be seen. */
#ifdef __SANITIZE_ADDRESS__
enum { MOST_SPARE = 0 };
#else
enum { MOST_SPARE = 8 };
#endif
enum { ALLOCATED_UNKNOWN = 1 }; /* a bit of a device's mask */

/* Far beyond any time or size; what is beyond is left to Python, and no sum of two overflows. */
static const long long LARGEST = 1LL << 61;

typedef struct Context {
    struct Context *next;
    CoreState *types;
    PyTypeObject *phase, *prepared, *compiled;
    PyTypeObject *writer_class, *path_class, *thread_class, *device_class, *collector_class, *collectors_class;
    PyObject *writer; /* NULL: phases do nothing */
    PyObject *variable, *root, *system_clock, *system_wall_clock, *raw, *encode;
    PyObject *enter_twin, *exit_twin, *enter_again, *break_off, *this_thread;
    PyObject *note_begin, *note_end, *text_ok;
    PyObject *name_enter, *name_exit, *name_read_failed, *name_device_failed, *name_device_state, *name_late;
    Py_ssize_t path_children, path_packed, thread_packed, thread_ident;
    Py_ssize_t device_packed, device_id, device_last, device_mask, device_measures, device_collector;
    Py_ssize_t device_encoded, device_extra, device_figures, device_told;
    Py_ssize_t writer_dropped, writer_wall_ns;
    Py_ssize_t collector_read, collector_current, collector_states;
    Py_ssize_t collectors_only, collectors_meanwhile, collectors_awaited;
    Py_ssize_t collectors_pending, collectors_boundary, collectors_devices, collectors_admitted;
    int is_interpreted; /* every phase goes the Python way for now */
    int inherits;       /* a thread may begin with the context of whoever started it */
    struct {
        uint64_t id;
        PyObject *thread;
    } threads[REMEMBERED_THREADS];
    Scope *spare[MOST_SPARE + 1]; /* not one of their fields is set */
    int spares;
} Context;

extern Context *contexts;

static inline Context *
context_of_module(PyObject *module)
{
    return ((CoreState *)PyModule_GetState(module))->context;
}

static inline Context *
context_of_object(PyObject *object)
{
    Context *context = contexts;
    while (context->compiled != Py_TYPE(object)) {
        context = context->next;
    }
    return context;
}

/* phase.c: the boundaries of the compiled type. */
PyObject *phase_enter(PyObject *phase, PyObject *ignored);
PyObject *phase_exit(PyObject *phase, PyObject *const *args, Py_ssize_t count);

/* The latter, called by a `with` that holds one reference, and lets go of it: `is_by_with`. */
PyObject *phase_leave(PyObject *phase, PyObject *const *args, Py_ssize_t count, int is_by_with);

/* phase_methods.c: let the compiled type's methods be bound at less cost. */
int replace_methods(PyTypeObject *compiled);

/* phase_creation.c: the type itself, and what calling the two Python classes gives from then on. */
extern PyType_Spec compiled_spec;
PyObject *phase_call(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *names);
PyObject *prepared_call(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *names);

#endif
