/* The ring's append, within one segment. What closes a segment, leaves a file that fails, or comes back to it is
 * wire/ring.py's and wire/guarded_ring.py's.
 */
#include "core.h"
#include "crc32.h"

#ifdef __linux__
#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#endif

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* The store that makes a record count: nothing of the record may come behind it. */
static inline void
publish(unsigned char *word, uint64_t value)
{
#if defined(__GNUC__) || defined(__clang__)
    __atomic_store_n((uint64_t *)(void *)word, value, __ATOMIC_RELEASE);
#elif defined(_MSC_VER)
    _ReadWriteBarrier();
    *(volatile uint64_t *)(void *)word = value; /* a release store with MSVC's /volatile:ms, on the machines it is for */
#else
#error "a release store is needed here"
#endif
}

#ifdef __linux__

static uintptr_t page_bytes;

#ifdef SYS_gettimeofday
enum { ASKED_BYTES = 8 };
#else
enum { ASKED_BYTES = 16 };
#endif

/* Let the kernel store its time zone (or a time) here: it fails where a store of our own would end the process. Hardly a
 * call takes less time, for this one reads no clock, and none is so sure to be allowed in any sandbox.
 */
static int
can_store_at(unsigned char *place)
{
#if defined(SYS_gettimeofday)
    return syscall(SYS_gettimeofday, NULL, place) == 0;
#elif defined(SYS_clock_gettime)
    return syscall(SYS_clock_gettime, CLOCK_MONOTONIC_COARSE, place) == 0;
#else
    (void)place;
    return 0;
#endif
}

/* Whether that call tells the two apart here, which not every emulated kernel may do. */
static int
can_be_asked(void)
{
    static const unsigned char constant[ASKED_BYTES] = {0};
    static int answer = -1;
    if (answer < 0) {
        unsigned char variable[ASKED_BYTES];
        page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
        answer = can_store_at(variable) && !can_store_at((unsigned char *)constant) && errno == EFAULT;
    }
    return answer;
}

#endif

/* Whether a record can be stored from `start` to `end`: asked before it is, by a store into each of its pages. */
static int
pages_are_there(unsigned char *start, unsigned char *end)
{
#ifdef __linux__
    if (can_be_asked() && (uintptr_t)(end - start) <= page_bytes) {
        uintptr_t first = (uintptr_t)start / page_bytes, last = (uintptr_t)(end - ASKED_BYTES) / page_bytes;
        return can_store_at(end - ASKED_BYTES) && (first == last || can_store_at(start));
    }
    uintptr_t first = (uintptr_t)start & ~(page_bytes - 1);
    return madvise((void *)first, (size_t)((uintptr_t)end - first), MADV_POPULATE_WRITE) == 0;
#else
    (void)start, (void)end;
    return 0;
#endif
}

/* Record and head stored by the kernel, which fails where a store of our own would end the process. */
static int
stored_by_kernel(Ring *ring, const unsigned char *record, size_t size, uint64_t head)
{
#ifdef __linux__
    unsigned char *place = (unsigned char *)ring->view.buf;
    if (size + sizeof head > (size_t)ring->source.len) {
        return 0;
    }
    memcpy(ring->source.buf, record, size);
    memcpy((unsigned char *)ring->source.buf + size, &head, sizeof head);
    struct iovec vector[2] = {{place + ring->at, size}, {place + HEAD_OFFSET, sizeof head}};
    return preadv(ring->source_fd, vector, 2, 0) == (ssize_t)(size + sizeof head);
#else
    (void)ring, (void)record, (void)size, (void)head;
    return 0;
#endif
}

int
ring_append(Ring *ring, unsigned char *record, size_t payload_size)
{
    size_t size = RECORD_HEADER + payload_size;
    long long at = ring->at, end = at + (long long)size;
    if (ring->mode == STORE_NOT_HERE || at < HEAD_OFFSET || end > ring->limit || end > (long long)ring->view.len) {
        return 0;
    }
    uint64_t sequence = ring->sequence + 1, head = (uint64_t)(end + ring->base);
    uint32_t length = (uint32_t)payload_size;
    uint32_t crc = crc32_of(record + RECORD_HEADER, payload_size, (uint32_t)((uint64_t)(at + ring->base) + sequence));
    memcpy(record, &length, sizeof length);
    memcpy(record + 4, &crc, sizeof crc);
    memcpy(record + 8, &sequence, sizeof sequence);
    unsigned char *place = (unsigned char *)ring->view.buf;
    if (ring->mode == STORE_BY_KERNEL) {
        if (!stored_by_kernel(ring, record, size, head)) {
            return 0;
        }
    }
    else {
        if (ring->mode == STORE_CHECKED && !pages_are_there(place + at, place + end)) {
            return 0;
        }
        memcpy(place + at, record, size);
        publish(place + HEAD_OFFSET, head);
    }
    ring->sequence = sequence;
    ring->at = end;
    return 1;
}

int
ring_is_whole(const RingFile *file)
{
#ifdef _WIN32
    return file->file.fd < 0;
#else
    char begin[LIVE_END];
    long long size;
    return file->file.fd < 0
        || (is_held(&file->file, &size) && size >= file->size
            && pread(file->file.fd, begin, sizeof begin, 0) == (ssize_t)sizeof begin
            && memcmp(begin, file->header, HEAD_OFFSET) == 0);
#endif
}

/* The two words by one copy of the kernel's. */
static int
beat_by_kernel(Ring *ring, uint64_t now_ns, uint64_t dropped)
{
#ifdef __linux__
    unsigned char *place = (unsigned char *)ring->view.buf;
    uint64_t words[2] = {dropped, now_ns};
    if ((size_t)ring->source.len < sizeof words) {
        return 0;
    }
    memcpy(ring->source.buf, words, sizeof words);
    struct iovec vector[2] = {{place + DROPPED_OFFSET, sizeof dropped}, {place + HEARTBEAT_OFFSET, sizeof now_ns}};
    return preadv(ring->source_fd, vector, 2, 0) == (ssize_t)sizeof words;
#else
    (void)ring, (void)now_ns, (void)dropped;
    return 0;
#endif
}

/* Asked of the kernel without storing anything: here even a moment's other value would be seen. */
static int
first_page_is_there(const Ring *ring)
{
#ifdef __linux__
    return madvise(ring->view.buf, LIVE_END, MADV_POPULATE_WRITE) == 0;
#else
    (void)ring;
    return 0;
#endif
}

int
ring_beat(Ring *ring, uint64_t now_ns, uint64_t dropped)
{
    unsigned char *place = (unsigned char *)ring->view.buf;
    if (!ring->may_beat || ring->mode == STORE_NOT_HERE || ring->view.len < LIVE_END) {
        return 0;
    }
    if (ring->mode == STORE_BY_KERNEL) {
        return beat_by_kernel(ring, now_ns, dropped);
    }
    if (ring->mode == STORE_CHECKED && !first_page_is_there(ring)) {
        return 0;
    }
    publish(place + DROPPED_OFFSET, dropped);
    publish(place + HEARTBEAT_OFFSET, now_ns);
    return 1;
}

static void
let_go(Ring *self)
{
    self->mode = STORE_NOT_HERE;
    self->may_beat = 0;
    if (self->view.obj != NULL) {
        PyBuffer_Release(&self->view);
    }
    if (self->source.obj != NULL) {
        PyBuffer_Release(&self->source);
    }
}

static PyObject *
ring_store_nowhere(Ring *self, PyObject *Py_UNUSED(ignored))
{
    let_go(self);
    Py_RETURN_NONE;
}

static PyObject *
ring_store_in(Ring *self, PyObject *args)
{
    PyObject *buffer, *source = Py_None;
    int mode, fd = -1;
    if (!PyArg_ParseTuple(args, "Oi|Oi", &buffer, &mode, &source, &fd)) {
        return NULL;
    }
    let_go(self);
    if (mode < STORE_DIRECTLY || mode > STORE_BY_KERNEL || (mode == STORE_BY_KERNEL && source == Py_None)) {
        PyErr_SetString(PyExc_ValueError, "no such way to store");
        return NULL;
    }
    if (PyObject_GetBuffer(buffer, &self->view, PyBUF_WRITABLE) < 0) {
        return NULL;
    }
    if (mode == STORE_BY_KERNEL && PyObject_GetBuffer(source, &self->source, PyBUF_WRITABLE) < 0) {
        let_go(self);
        return NULL;
    }
    if ((uintptr_t)self->view.buf % sizeof(uint64_t) != 0) { /* the head must be stored at once */
        let_go(self);
        Py_RETURN_NONE;
    }
    self->source_fd = fd;
    self->mode = mode;
    Py_RETURN_NONE;
}

/* _beat_in(descriptor, device, number, size, header); without arguments where nobody can take pages away. */
static PyObject *
ring_beat_in(Ring *self, PyObject *args)
{
    RingFile file = {.file.fd = -1};
    const char *header = NULL;
    Py_ssize_t length = 0;
    if (!PyArg_ParseTuple(args, "|iKKLy#", &file.file.fd, &file.file.device, &file.file.number, &file.size, &header,
                          &length)) {
        return NULL;
    }
    if (file.file.fd >= 0) {
        if (length < HEAD_OFFSET) {
            PyErr_SetString(PyExc_ValueError, "no header");
            return NULL;
        }
        memcpy(file.header, header, HEAD_OFFSET);
    }
    self->file = file;
    self->may_beat = 1;
    Py_RETURN_NONE;
}

static PyObject *
ring_try_append(Ring *self, PyObject *payload)
{
    unsigned char record[RECORD_HEADER + MOST_PAYLOAD];
    if (!PyBytes_CheckExact(payload) || PyBytes_GET_SIZE(payload) > MOST_PAYLOAD) {
        Py_RETURN_FALSE;
    }
    size_t size = (size_t)PyBytes_GET_SIZE(payload);
    memcpy(record + RECORD_HEADER, PyBytes_AS_STRING(payload), size);
    return PyBool_FromLong(ring_append(self, record, size));
}

static PyMethodDef ring_methods[] = {
    {"_store_in", (PyCFunction)ring_store_in, METH_VARARGS, "Let the core append to this buffer, in this way."},
    {"_beat_in", (PyCFunction)ring_beat_in, METH_VARARGS, "Let the core store signs of life too, beside this file."},
    {"_store_nowhere", (PyCFunction)ring_store_nowhere, METH_NOARGS, "Let go of the buffer."},
    {"_try_append", (PyCFunction)ring_try_append, METH_O, "Append a record in the core; whether it could."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef ring_members[] = {
    {"_at", T_LONGLONG, offsetof(Ring, at), 0, NULL},
    {"_limit", T_LONGLONG, offsetof(Ring, limit), 0, NULL},
    {"_base", T_LONGLONG, offsetof(Ring, base), 0, NULL},
    {"sequence", T_ULONGLONG, offsetof(Ring, sequence), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static int
ring_traverse(Ring *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->view.obj);
    Py_VISIT(self->source.obj);
    return 0;
}

static int
ring_clear(Ring *self)
{
    let_go(self);
    return 0;
}

static void
ring_dealloc(Ring *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    let_go(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot ring_slots[] = {
    {Py_tp_members, ring_members},
    {Py_tp_methods, ring_methods},
    {Py_tp_traverse, ring_traverse},
    {Py_tp_clear, ring_clear},
    {Py_tp_dealloc, ring_dealloc},
    {Py_tp_doc, "The slots of a ring writer that an append needs."},
    {0, NULL},
};

static PyType_Spec ring_spec = {
    .name = "phasescope._native._core.RingSlots",
    .basicsize = sizeof(Ring),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = ring_slots,
};

PyTypeObject *
make_ring_type(PyObject *module)
{
    return (PyTypeObject *)PyType_FromModuleAndSpec(module, &ring_spec, NULL);
}
