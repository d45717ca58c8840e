/* The sampler's tick, as long as the host is all that is measured and nothing has happened: capture/sampler.py's, step by
 * step. It runs ten times a second in a process whose caches hold other things by then, so what counts is how little
 * code and data it walks through.
 *
 * After each tick of its own Python says what the core may rely on until its next one (`_rely_on`). Whatever is otherwise by
 * then is found out before anything was changed, and the tick is Python's. Once a second Python finds out what is not
 * read at each tick, and leaves it in the device's `extra` for the sample that comes next.
 *
 * The interpreter's lock is let go of for the wait, and for what may keep the kernel busy; it is held from the reading of
 * the resident set to the last store, and no Python code runs in between. So a fork finds the thread at rest without
 * the lock of `_forks.Work`.
 */
#include "reading.h"
#include "sampler.h"

Context *
context_of_writer(const PyObject *writer)
{
    Context *context = contexts;
    while (context != NULL && context->writer_class != Py_TYPE(writer)) {
        context = context->next;
    }
    return context;
}

/* Both clocks; -1 with an error. */
static int
read_clocks(const Context *c, Writer *writer, long long *now_ns, long long *wall_ns)
{
    PyObject *clock = slot_at((PyObject *)writer, c->writer_wall_ns);
#ifdef __linux__
    struct timespec wall;
    if (clock == c->system_wall_clock && clock_gettime(CLOCK_REALTIME, &wall) == 0) {
        *wall_ns = wall.tv_sec * 1000000000LL + wall.tv_nsec;
        return read_clock(c, writer, now_ns);
    }
#endif
    PyObject *number = clock == NULL ? NULL : PyObject_CallNoArgs(clock);
    int is_read = number != NULL && is_number(number, wall_ns);
    Py_XDECREF(number);
    return is_read ? read_clock(c, writer, now_ns) : -1;
}

/* Whether what Python relied on is still so. */
static int
is_regular(const Context *c, const Sampler *self, long long now_ns)
{
    const Writer *writer = (const Writer *)self->writer;
    PyObject *device = self->device, *collectors = self->collectors;
    if (device == NULL || c == NULL || now_ns >= self->details_due_ns || writer->state != WRITER_FREE
        || writer->ring == NULL || !PyObject_TypeCheck(writer->ring, c->types->ring_type)
        || Py_TYPE(collectors) != c->collectors_class || Py_TYPE(device) != c->device_class
        || slot_at(collectors, c->collectors_admitted) != self->admitted
        || slot_at(device, c->device_measures) != Py_None) {
        return 0;
    }
    PyObject *pending = slot_at(collectors, c->collectors_pending), *collector = slot_at(device, c->device_collector);
    PyObject *read = collector != NULL && Py_TYPE(collector) == c->collector_class ? slot_at(collector, c->collector_read)
                                                                                  : NULL;
    const Host *host = (const Host *)self->host;
    return read != NULL && Py_TYPE(read) == c->types->resident_type && pending != NULL && PyList_CheckExact(pending)
        && (PyList_GET_SIZE(pending) == 0 || is_still(slot_at(collectors, c->collectors_awaited)))
        && host->figures != NULL && slot_at(device, c->device_told) == host->figures
        && (now_ns < host->due_ns || now_ns < host->known_until_ns);
}

void
take_question(const Sampler *self, Question *question)
{
    const Host *host = (const Host *)self->host;
    question->files = host->files;
    question->looks = host->looks;
    question->ring = ((Ring *)((Writer *)self->writer)->ring)->file;
}

/* Needs no lock: all that is asked about is here by value. */
void
ask_kernel(Question *question)
{
    question->is_whole = (char)ring_is_whole(&question->ring);
    question->has_figures = question->wants_figures && read_host(&question->files, question->figures);
#ifndef _WIN32
    question->is_requested =
        question->request_path != NULL && access(PyBytes_AS_STRING(question->request_path), F_OK) == 0;
#endif
}

/* Whether these figures cross no threshold. */
static int
is_quiet(const Sampler *self, const long long figures[3])
{
    return figures[2] == self->total && figures[0] >= self->lowest && figures[0] < self->below;
}

/* Whether those do that are known: Python may have read them. */
static int
is_quiet_so_far(const Sampler *self)
{
    PyObject *known = ((Host *)self->host)->figures;
    long long figures[3];
    for (int index = 0; index < 3; index++) {
        if (!PyTuple_Check(known) || PyTuple_GET_SIZE(known) != 3
            || !is_number(PyTuple_GET_ITEM(known, index), &figures[index])) {
            return 0;
        }
    }
    return is_quiet(self, figures);
}

/* Whether all is as it was when the kernel was asked, and the parts were made. */
static int
is_as_asked(const Context *c, const Sampler *self, const Question *question, const Made *made, long long now_ns)
{
    if (!is_regular(c, self, now_ns)) {
        return 0;
    }
    const Ring *ring = (const Ring *)((Writer *)self->writer)->ring;
    const Host *host = (const Host *)self->host;
    return ring->may_beat && ring->file.file.fd == question->ring.file.fd && host->looks == question->looks
        && (made->figures != NULL || (now_ns < host->due_ns && is_quiet_so_far(self)))
        && slot_at(self->device, c->device_extra) == made->given;
}

/* The tick, once the kernel has answered; 0 where it is Python's. `due_ns`: when it was to come, or -1 for `late_ns`. */
int
tick(Sampler *self, const Question *question, long long due_ns, long long late_ns)
{
    const Context *c = context_of_writer(self->writer);
    Made made = {NULL};
    long long now_ns, wall_ns;
    int is_done = 0;
    if (c == NULL || !question->is_whole || read_clocks(c, (Writer *)self->writer, &now_ns, &wall_ns) < 0
        || self->device == NULL) {
        PyErr_Clear();
        return 0;
    }
    if (due_ns >= 0) {
        late_ns = now_ns > due_ns ? now_ns - due_ns : 0;
    }
    if ((!question->wants_figures
         || (question->has_figures && is_quiet(self, question->figures)
             && make_figures(c, self, question->figures, &made)))
        && make_details(c, self, late_ns, &made) && is_as_asked(c, self, question, &made, now_ns)) {
        is_done = write_sample(c, self, now_ns, wall_ns, late_ns, &made);
    }
    PyErr_Clear();
    forget_made(&made);
    return is_done;
}

/* A tick at this moment, of which it is known how late it comes; whether it was done. */
int
tick_now(Sampler *self, long long late_ns)
{
    Question question = {.request_path = NULL};
    const Context *c = context_of_writer(self->writer);
    long long now_ns, wall_ns;
    if (self->device == NULL || c == NULL || read_clocks(c, (Writer *)self->writer, &now_ns, &wall_ns) < 0 || !is_regular(c, self, now_ns)) {
        PyErr_Clear();
        return 0;
    }
    take_question(self, &question);
    question.wants_figures = now_ns >= ((Host *)self->host)->due_ns;
    Py_BEGIN_ALLOW_THREADS
    ask_kernel(&question);
    Py_END_ALLOW_THREADS
    return tick(self, &question, -1, late_ns);
}
