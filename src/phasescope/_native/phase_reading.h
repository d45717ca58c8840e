/* What a boundary reads before it is written: the clock, the thread, the device that it speaks of, and its counters. */
#ifndef PHASESCOPE_PHASE_READING_H
#define PHASESCOPE_PHASE_READING_H

#include "event.h"
#include "reading.h"

/* The calling thread, borrowed. A thread state's number is never given twice. */
static PyObject *
calling_thread(Context *c)
{
    uint64_t id = PyThreadState_GetID(PyThreadState_Get());
    unsigned int place = (unsigned int)(id % REMEMBERED_THREADS);
    if (c->threads[place].id == id && c->threads[place].thread != NULL) {
        return c->threads[place].thread;
    }
    PyObject *thread = PyObject_CallNoArgs(c->this_thread);
    if (thread == NULL) {
        return NULL;
    }
    if (Py_TYPE(thread) != c->thread_class) {
        Py_DECREF(thread);
        PyErr_SetString(PyExc_TypeError, "no thread");
        return NULL;
    }
    c->threads[place].id = id;
    Py_XSETREF(c->threads[place].thread, thread);
    return c->threads[place].thread;
}

/* What a collector answers in place of what it has just raised; NULL where that goes on. */
static PyObject *
answer_to_failure(PyObject *collector, PyObject *method)
{
    PyObject *type, *error, *trace;
    if (!PyErr_ExceptionMatches(PyExc_Exception)) {
        return NULL;
    }
    PyErr_Fetch(&type, &error, &trace);
    PyErr_NormalizeException(&type, &error, &trace);
    if (trace != NULL) {
        PyException_SetTraceback(error, trace);
    }
    PyObject *answer = PyObject_CallMethodOneArg(collector, method, error);
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(trace);
    return answer;
}

/* The device that a phase speaks of, as Collectors.device_state finds it. */
static PyObject *
find_device(const Context *c, const Writer *writer)
{
    PyObject *collectors = writer->collectors;
    if (collectors == NULL) {
        PyErr_SetString(PyExc_AttributeError, "collectors");
        return NULL;
    }
    if (Py_TYPE(collectors) == c->collectors_class) {
        PyObject *only = slot_at(collectors, c->collectors_only), *pending = slot_at(collectors, c->collectors_pending);
        PyObject *boundary = slot_at(collectors, c->collectors_boundary);
        if (only != NULL && only != Py_None) {
            return Py_NewRef(only);
        }
        int nothing_new = pending != NULL && PyList_CheckExact(pending)
            && (PyList_GET_SIZE(pending) == 0 || is_still(slot_at(collectors, c->collectors_awaited)));
        PyObject *meanwhile = slot_at(collectors, c->collectors_meanwhile);
        if (nothing_new && meanwhile != NULL && meanwhile != Py_None) {
            return Py_NewRef(meanwhile);
        }
        if (nothing_new && boundary != NULL && Py_TYPE(boundary) == c->collector_class
            && slot_at(collectors, c->collectors_devices) == Py_None) {
            PyObject *collector = Py_NewRef(boundary), *ask = Py_XNewRef(slot_at(collector, c->collector_current));
            PyObject *index = ask == NULL ? NULL : PyObject_CallNoArgs(ask);
            if (index == NULL && PyErr_Occurred()) {
                index = answer_to_failure(collector, c->name_device_failed);
            }
            PyObject *states = slot_at(collector, c->collector_states), *device = NULL;
            if (index != NULL && states != NULL && PyDict_CheckExact(states)) {
                device = Py_XNewRef(PyDict_GetItemWithError(states, index));
            }
            Py_DECREF(collector);
            Py_XDECREF(ask);
            Py_XDECREF(index);
            if (device != NULL || PyErr_Occurred()) {
                return device;
            }
        }
    }
    Py_INCREF(collectors);
    PyObject *device = PyObject_CallMethodNoArgs(collectors, c->name_device_state);
    Py_DECREF(collectors);
    return device;
}

static void
take_counters(Counters *counters)
{
    PyObject *given = counters->object;
    if (!PyTuple_Check(given) || PyTuple_GET_SIZE(given) != 4) {
        return;
    }
    PyObject *active = PyTuple_GET_ITEM(given, 2), *inactive = PyTuple_GET_ITEM(given, 3);
    counters->has_active = active != Py_None;
    counters->has_inactive = inactive != Py_None;
    counters->is_plain = is_number(PyTuple_GET_ITEM(given, 0), &counters->allocated)
        && is_number(PyTuple_GET_ITEM(given, 1), &counters->reserved)
        && (!counters->has_active || is_number(active, &counters->active))
        && (!counters->has_inactive || is_number(inactive, &counters->inactive));
}

/* When counters are read. Only the system's clock knows which boundaries touch. */
typedef struct {
    int is_known;
    long long now_ns, after_ns; /* a reading from before the latter does not serve */
} Moment;

static int
read_counters(const Context *c, PyObject *device, const Moment *moment, Counters *counters)
{
    memset(counters, 0, sizeof *counters);
    PyObject *collector = Py_TYPE(device) == c->device_class ? slot_at(device, c->device_collector) : NULL;
    if (collector == NULL || Py_TYPE(collector) != c->collector_class || slot_at(collector, c->collector_read) == NULL
        || slot_at(device, c->device_id) == NULL) {
        PyErr_SetString(PyExc_TypeError, "no device");
        return -1;
    }
    PyObject *read = slot_at(collector, c->collector_read);
    if (Py_TYPE(read) == c->types->resident_type) {
        counters->allocated = counters->reserved = moment->is_known
            ? resident_bytes_at(read, moment->now_ns, moment->after_ns)
            : resident_bytes(read);
        if (counters->allocated >= 0) {
            counters->is_plain = 1;
            return 0;
        }
    }
    Py_INCREF(collector);
    Py_INCREF(read);
    counters->object = PyObject_CallOneArg(read, slot_at(device, c->device_id));
    if (counters->object == NULL) {
        counters->object = answer_to_failure(collector, c->name_read_failed);
    }
    Py_DECREF(read);
    Py_DECREF(collector);
    if (counters->object == NULL) {
        return -1;
    }
    take_counters(counters);
    return 0;
}

static int
reads_resident_set(const Context *c, PyObject *device)
{
    PyObject *collector = Py_TYPE(device) == c->device_class ? slot_at(device, c->device_collector) : NULL;
    PyObject *read = collector != NULL && Py_TYPE(collector) == c->collector_class
        ? slot_at(collector, c->collector_read)
        : NULL;
    return read != NULL && Py_TYPE(read) == c->types->resident_type;
}

static PyObject *
counters_object(const Counters *counters)
{
    if (counters->object != NULL) {
        return Py_NewRef(counters->object);
    }
    return Py_BuildValue("LLOO", counters->allocated, counters->reserved, Py_None, Py_None);
}

#endif
