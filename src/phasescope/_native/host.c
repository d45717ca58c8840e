/* The memory of the machine, or of the group that limits it: what backends/cpu.py's Cpu reads, out of the files that it
 * keeps open. Which files those are, and what to do where one does not answer, is Python's.
 */
#include "host.h"

/* Less than 0 if the files of the group do not state it. */
static long long
used_by_group(const HostFiles *files, char *text)
{
    const char *behind;
    long size = read_kernel_file(&files->stat, text, KERNEL_TEXT);
    long long reclaimable = size < 0 ? -1 : labelled_number(text, size, files->label, files->label_bytes, &behind);
    size = reclaimable < 0 ? -1 : read_kernel_file(&files->usage, text, KERNEL_TEXT);
    long long usage = size < 0 ? -1 : decimal_at(text, text + size, &behind);
    return usage < 0 ? -1 : usage > reclaimable ? usage - reclaimable : 0;
}

int
read_host(const HostFiles *files, long long figures[3])
{
    char text[KERNEL_TEXT];
    const char *behind;
    long size = is_held(&files->statm, NULL) ? read_kernel_file(&files->meminfo, text, sizeof text) : -1;
    long long total = labelled_number(text, size, "MemTotal:", 9, &behind);
    long long available = labelled_number(text, size, "MemAvailable:", 13, &behind);
    if (total < 0 || available < 0 || total > 1LL << 50 || 1024 * total != files->total_bytes) {
        return 0;
    }
    total *= 1024;
    available = 1024 * available < total ? 1024 * available : total;
    if (files->limit_bytes < 0) {
        figures[0] = total - available;
        figures[1] = available;
        figures[2] = total;
        return 1;
    }
    long long limit = files->limit_bytes, used = used_by_group(files, text);
    if (used < 0) {
        return 0;
    }
    used = used < limit ? used : limit;
    figures[0] = used;
    figures[1] = limit - used < available ? limit - used : available;
    figures[2] = limit;
    return 1;
}

static int
take_file(PyObject *given, KernelFile *file)
{
    return PyArg_ParseTuple(given, "iKK;a descriptor, and its file's device and number", &file->fd, &file->device,
                            &file->number);
}

static PyObject *
host_know(Host *self, PyObject *args)
{
    HostFiles files = {.limit_bytes = -1, .usage.fd = -1, .stat.fd = -1};
    PyObject *statm, *meminfo, *usage = NULL, *stat = NULL;
    const char *label = NULL;
    Py_ssize_t label_bytes = 0;
    long long until_ns;
    if (!PyArg_ParseTuple(args, "LO!O!L|LO!O!y#", &until_ns, &PyTuple_Type, &statm, &PyTuple_Type, &meminfo,
                          &files.total_bytes, &files.limit_bytes, &PyTuple_Type, &usage, &PyTuple_Type, &stat, &label,
                          &label_bytes)
        || !take_file(statm, &files.statm) || !take_file(meminfo, &files.meminfo)
        || (usage != NULL && !take_file(usage, &files.usage)) || (stat != NULL && !take_file(stat, &files.stat))) {
        return NULL;
    }
    if (label_bytes > LONGEST_LABEL || (files.limit_bytes >= 0 && label == NULL)) {
        PyErr_SetString(PyExc_ValueError, "no such label");
        return NULL;
    }
    if (label != NULL) {
        memcpy(files.label, label, (size_t)label_bytes);
    }
    files.label_bytes = (size_t)label_bytes;
    self->files = files;
    self->known_until_ns = until_ns;
    self->looks++;
    Py_RETURN_NONE;
}

static PyObject *
host_forget(Host *self, PyObject *Py_UNUSED(ignored))
{
    self->known_until_ns = self->due_ns = 0;
    self->looks++;
    Py_RETURN_NONE;
}

static int
host_traverse(Host *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->figures);
    return 0;
}

static int
host_clear(Host *self)
{
    Py_CLEAR(self->figures);
    return 0;
}

static void
host_dealloc(Host *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    host_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef host_methods[] = {
    {"know", (PyCFunction)host_know, METH_VARARGS, "Let the core read these files until then."},
    {"forget", (PyCFunction)host_forget, METH_NOARGS, "Let Python find the files."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef host_members[] = {
    {"figures", T_OBJECT_EX, offsetof(Host, figures), 0, NULL},
    {"due_ns", T_LONGLONG, offsetof(Host, due_ns), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot host_slots[] = {
    {Py_tp_methods, host_methods},
    {Py_tp_members, host_members},
    {Py_tp_traverse, host_traverse},
    {Py_tp_clear, host_clear},
    {Py_tp_dealloc, host_dealloc},
    {Py_tp_doc, "The host's figures as they were read last, and the files that they come from."},
    {0, NULL},
};

static PyType_Spec host_spec = {
    .name = "phasescope._native._core.HostFigures",
    .basicsize = sizeof(Host),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = host_slots,
};

PyTypeObject *
make_host_type(PyObject *module)
{
    return (PyTypeObject *)PyType_FromModuleAndSpec(module, &host_spec, NULL);
}
