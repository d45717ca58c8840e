/* The resident set, out of a kept descriptor of /proc/self/statm. The file, and what to do where it does not answer, are
 * backends/cpu.py's. The interpreter's lock is kept: the kernel answers in a microsecond, and who lets go of the lock
 * waits for milliseconds beside a thread that computes.
 */
#include "core.h"

#ifndef _WIN32
#include <unistd.h>
#endif

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *otherwise;
    long long page_bytes;
    long long touching_ns;
    long long kept_bytes, kept_ns; /* what was read last at a boundary, and a moment before */
    uint64_t kept_by;              /* the thread state's number; 0: nobody */
    int fd;
} Resident;

/* Pages of the number at `at`, which a blank follows; -1 where there is none. */
static long long
pages_at(const char *at, const char *end, const char **behind)
{
    long long pages = at < end && *at != ' ' ? decimal_at(at, end, behind) : -1;
    return pages < 0 || *behind == end || **behind != ' ' ? -1 : pages;
}

static long long
bytes_of(const Resident *self, long long pages)
{
    return pages < 0 || pages > 1LL << 40 ? -1 : pages * self->page_bytes;
}

long long
resident_and_shared_bytes(PyObject *object, long long *shared)
{
#ifdef _WIN32
    (void)object, (void)shared;
    return -1;
#else
    Resident *self = (Resident *)object;
    char text[64];
    ssize_t size = self->fd < 0 ? -1 : pread(self->fd, text, sizeof text, 0);
    const char *end = text + (size < 0 ? 0 : size), *at = memchr(text, ' ', (size_t)(end - text)); /* behind its size */
    if (at == NULL) {
        return -1;
    }
    long long pages = pages_at(at + 1, end, &at);
    if (pages >= 0 && shared != NULL) {
        *shared = pages_at(at + 1, end, &at);
        *shared = bytes_of(self, *shared);
    }
    return bytes_of(self, pages);
#endif
}

long long
resident_bytes(PyObject *object)
{
    return resident_and_shared_bytes(object, NULL);
}

long long
resident_bytes_at(PyObject *object, long long now_ns, long long after_ns)
{
    Resident *self = (Resident *)object;
    uint64_t thread = PyThreadState_GetID(PyThreadState_Get());
    if (after_ns < self->kept_ns && now_ns - self->kept_ns <= self->touching_ns && self->kept_by == thread) {
        return self->kept_bytes;
    }
    long long bytes = resident_bytes(object);
    if (bytes >= 0) {
        self->kept_bytes = bytes;
        self->kept_ns = now_ns;
        self->kept_by = thread;
    }
    return bytes;
}

static PyObject *
resident_call(PyObject *object, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    long long bytes = resident_bytes(object);
    PyObject *otherwise = ((Resident *)object)->otherwise;
    if (bytes < 0 && otherwise == NULL) { /* amid the collection of what held both */
        PyErr_SetNone(PyExc_OSError);
        return NULL;
    }
    if (bytes < 0) {
        return PyObject_Vectorcall(otherwise, args, nargsf & ~PY_VECTORCALL_ARGUMENTS_OFFSET, kwnames);
    }
    return Py_BuildValue("LLOO", bytes, bytes, Py_None, Py_None);
}

static PyObject *
resident_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"page_bytes", "otherwise", "touching_ns", NULL};
    long long page_bytes, touching_ns;
    PyObject *otherwise;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "LOL", names, &page_bytes, &otherwise, &touching_ns)) {
        return NULL;
    }
    Resident *self = (Resident *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->vectorcall = resident_call;
        self->otherwise = Py_NewRef(otherwise);
        self->page_bytes = page_bytes;
        self->touching_ns = touching_ns;
        self->fd = -1;
    }
    return (PyObject *)self;
}

static int
resident_traverse(Resident *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->otherwise);
    return 0;
}

static int
resident_clear(Resident *self)
{
    Py_CLEAR(self->otherwise);
    return 0;
}

static void
resident_dealloc(Resident *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    resident_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMemberDef resident_members[] = {
    {"fd", T_INT, offsetof(Resident, fd), 0, "of statm; -1: none"},
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Resident, vectorcall), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot resident_slots[] = {
    {Py_tp_new, resident_new},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_members, resident_members},
    {Py_tp_traverse, resident_traverse},
    {Py_tp_clear, resident_clear},
    {Py_tp_dealloc, resident_dealloc},
    {Py_tp_doc, "Reads (resident set, resident set, None, None), in bytes; calls `otherwise` where it can not."},
    {0, NULL},
};

static PyType_Spec resident_spec = {
    .name = "phasescope._native._core.ResidentSet",
    .basicsize = sizeof(Resident),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
    .slots = resident_slots,
};

PyTypeObject *
make_resident_type(PyObject *module)
{
    return (PyTypeObject *)PyType_FromModuleAndSpec(module, &resident_spec, NULL);
}
