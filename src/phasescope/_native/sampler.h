/* The sampler as the core sees it, what it asks the kernel at a tick, and what a sample is made of. */
#ifndef PHASESCOPE_SAMPLER_H
#define PHASESCOPE_SAMPLER_H

#include "core.h"
#include "host.h"

typedef struct {
    PyObject_HEAD
    PyObject *writer;
    PyObject *collectors;
    PyObject *asks;
    PyObject *request_path; /* bytes; None: there are no requests */
    long long interval_ns;
    long long due_ns;
    long long sampled_sequence;
    long long details_due_ns; /* when Python is to find out what the core cannot */
    char has_request; /* that is being answered */

    PyObject *device; /* NULL: nothing to rely on */
    PyObject *admitted;
    PyObject *host;
    unsigned long long home_thread;
    long long total, lowest, below; /* of this total, used memory that crosses no threshold */

    PyThread_type_lock wake; /* taken, until the thread is to end */
    char is_woken;
} Sampler;

/* What is asked of the kernel without the interpreter's lock, and the answers. */
typedef struct {
    HostFiles files;
    unsigned long long looks;
    RingFile ring;
    PyObject *request_path; /* bytes; NULL: it is not asked for */
    char wants_figures, has_figures, is_whole, is_requested;
    long long figures[3];
} Question;

/* What a sample takes along or changes, made before anything is changed: the garbage collector may run amid that. */
typedef struct {
    PyObject *figures, *encoded, *packed; /* the device's new ones, as DeviceState.set_figures makes them, or NULL */
    PyObject *given, *details, *none;     /* the device's `extra`; the same packed, or NULL; an empty one */
} Made;

/* tick.c */
Context *context_of_writer(const PyObject *writer);
void take_question(const Sampler *self, Question *question);
void ask_kernel(Question *question);
int tick(Sampler *self, const Question *question, long long due_ns, long long late_ns);
int tick_now(Sampler *self, long long late_ns);

/* sample.c */
int make_figures(const Context *c, const Sampler *self, const long long figures[3], Made *made);
int make_details(const Context *c, const Sampler *self, long long late_ns, Made *made);
void forget_made(Made *made);
int write_sample(const Context *c, Sampler *self, long long now_ns, long long wall_ns, long long late_ns,
                 const Made *made);

#endif
