/* What capture/phase.py and phase_context.py call: once as they are loaded, and where a session begins or ends. */
#include "phase_context.h"

Context *contexts;

int
make_context(CoreState *state)
{
    Context *context = PyMem_Calloc(1, sizeof *context);
    if (context == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    context->types = state;
    context->next = contexts;
    contexts = state->context = context;
    return 0;
}

typedef struct {
    PyTypeObject *type;
    const char *name;
    Py_ssize_t *offset;
} WantedSlot;

static int
find_slots(const WantedSlot *wanted, size_t count)
{
    for (size_t index = 0; index < count; index++) {
        *wanted[index].offset = slot_offset((PyObject *)wanted[index].type, wanted[index].name);
        if (*wanted[index].offset < 0) {
            return -1;
        }
    }
    return 0;
}

static int
find_names(Context *c)
{
    c->enter_twin = PyObject_GetAttrString((PyObject *)c->phase, "__enter__");
    c->exit_twin = PyObject_GetAttrString((PyObject *)c->phase, "__exit__");
    c->note_begin = PyUnicode_InternFromString("interrupted while it began");
    c->note_end = PyUnicode_InternFromString("interrupted while it ended");
    c->text_ok = PyUnicode_InternFromString("ok");
    c->name_enter = PyUnicode_InternFromString("enter");
    c->name_exit = PyUnicode_InternFromString("exit");
    c->name_read_failed = PyUnicode_InternFromString("read_failed");
    c->name_device_failed = PyUnicode_InternFromString("current_device_failed");
    c->name_device_state = PyUnicode_InternFromString("device_state");
    return PyErr_Occurred() ? -1 : 0;
}

/* A context lives as long as the process, and what it names with it: a phase may outlive its module. */
static void
keep(PyObject *const *objects, size_t count)
{
    for (size_t index = 0; index < count; index++) {
        Py_INCREF(objects[index]);
    }
}

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* From now on calls of `phase` and of `prepared` give compiled phases, whose type is returned. */
static PyObject *
compile_phase(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"phase", "prepared", "path_class", "thread_class", "variable", "root",
                            "enter_again", "break_off", "this_thread", "inherits", NULL};
    Context *c = context_of_module(module);
    PyTypeObject *phase, *prepared, *path_class, *thread_class;
    PyObject *variable, *root, *enter_again, *break_off, *this_thread;
    int inherits;
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "$O!O!O!O!O!OOOOp", names, &PyType_Type, &phase, &PyType_Type, &prepared, &PyType_Type,
            &path_class, &PyType_Type, &thread_class, &PyContextVar_Type, &variable, &root, &enter_again, &break_off,
            &this_thread, &inherits)) {
        return NULL;
    }
    if (c->compiled != NULL || phase->tp_basicsize != (Py_ssize_t)sizeof(Scope)
        || !PyType_IsSubtype(phase, c->types->scope_type)) {
        PyErr_SetString(PyExc_TypeError, "these phases can not be compiled");
        return NULL;
    }
    const WantedSlot wanted[] = {
        {path_class, "children", &c->path_children},
        {path_class, "packed", &c->path_packed},
        {thread_class, "packed", &c->thread_packed},
        {thread_class, "ident", &c->thread_ident},
    };
    c->phase = phase;
    if (find_slots(wanted, COUNT(wanted)) < 0 || find_names(c) < 0) {
        return NULL;
    }
    PyObject *bases = PyTuple_Pack(1, phase), *compiled = NULL;
    if (bases != NULL) {
        compiled = PyType_FromModuleAndSpec(module, &compiled_spec, bases);
        Py_DECREF(bases);
    }
    if (compiled == NULL || replace_methods((PyTypeObject *)compiled) < 0) {
        Py_XDECREF(compiled);
        return NULL;
    }
    PyObject *kept[] = {module, (PyObject *)phase, (PyObject *)prepared, (PyObject *)path_class, (PyObject *)thread_class,
                        variable, root, enter_again, break_off, this_thread, compiled};
    keep(kept, COUNT(kept));
    c->prepared = prepared;
    c->path_class = path_class;
    c->thread_class = thread_class;
    c->variable = variable;
    c->root = root;
    c->enter_again = enter_again;
    c->break_off = break_off;
    c->this_thread = this_thread;
    c->inherits = inherits;
    c->compiled = (PyTypeObject *)compiled;
    phase->tp_vectorcall = phase_call;
    prepared->tp_vectorcall = prepared_call;
    return compiled;
}

/* The classes of what a session writes with. Until they are known, phases that are written go the Python way. */
static PyObject *
know_classes(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"writer_class", "device_class", "collector_class", "collectors_class",
                            "system_clock", "system_wall_clock", "raw", "encode", NULL};
    Context *c = context_of_module(module);
    PyTypeObject *writer_class, *device_class, *collector_class, *collectors_class;
    PyObject *system_clock, *system_wall_clock, *raw, *encode;
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "$O!O!O!O!OOOO", names, &PyType_Type, &writer_class, &PyType_Type, &device_class, &PyType_Type,
            &collector_class, &PyType_Type, &collectors_class, &system_clock, &system_wall_clock, &raw, &encode)) {
        return NULL;
    }
    const WantedSlot wanted[] = {
        {device_class, "packed", &c->device_packed},
        {device_class, "device_id", &c->device_id},
        {device_class, "last_allocated", &c->device_last},
        {device_class, "mask", &c->device_mask},
        {device_class, "measures", &c->device_measures},
        {device_class, "collector", &c->device_collector},
        {device_class, "encoded", &c->device_encoded},
        {device_class, "extra", &c->device_extra},
        {device_class, "figures", &c->device_figures},
        {device_class, "_told", &c->device_told},
        {collector_class, "read", &c->collector_read},
        {collector_class, "current_device", &c->collector_current},
        {collector_class, "states", &c->collector_states},
        {collectors_class, "only", &c->collectors_only},
        {collectors_class, "meanwhile", &c->collectors_meanwhile},
        {collectors_class, "awaited", &c->collectors_awaited},
        {collectors_class, "pending", &c->collectors_pending},
        {collectors_class, "boundary", &c->collectors_boundary},
        {collectors_class, "_devices", &c->collectors_devices},
        {collectors_class, "admitted", &c->collectors_admitted},
        {writer_class, "dropped", &c->writer_dropped},
        {writer_class, "_wall_ns", &c->writer_wall_ns},
    };
    if (!PyType_IsSubtype(writer_class, c->types->writer_type) || c->writer_class != NULL) {
        PyErr_SetString(PyExc_TypeError, "the core can not write for this class");
        return NULL;
    }
    c->name_late = PyUnicode_InternFromString("sampling_late_ns"); /* a session may have no phases */
    if (c->name_late == NULL || find_slots(wanted, COUNT(wanted)) < 0) {
        return NULL;
    }
    PyObject *kept[] = {(PyObject *)writer_class, (PyObject *)device_class, (PyObject *)collector_class,
                        (PyObject *)collectors_class, system_clock, system_wall_clock, raw, encode};
    keep(kept, COUNT(kept));
    c->device_class = device_class;
    c->collector_class = collector_class;
    c->collectors_class = collectors_class;
    c->system_clock = system_clock;
    c->system_wall_clock = system_wall_clock;
    c->raw = raw;
    c->encode = encode;
    c->writer_class = writer_class;
    Py_RETURN_NONE;
}

static PyObject *
set_event_writer(PyObject *module, PyObject *writer)
{
    Context *c = context_of_module(module);
    Py_XSETREF(c->writer, writer == Py_None ? NULL : Py_NewRef(writer));
    Py_RETURN_NONE;
}

void
interpret_phases(PyObject *module, int flag)
{
    context_of_module(module)->is_interpreted = flag;
}

static PyObject *
interpret(PyObject *module, PyObject *flag)
{
    interpret_phases(module, flag == Py_True);
    Py_RETURN_NONE;
}

static PyObject *
forget_threads(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    Context *c = context_of_module(module);
    for (int index = 0; index < REMEMBERED_THREADS; index++) {
        c->threads[index].id = 0;
        Py_CLEAR(c->threads[index].thread);
    }
    Py_RETURN_NONE;
}

PyMethodDef phase_functions[] = {
    {"compile_phase", (PyCFunction)(void (*)(void))compile_phase, METH_VARARGS | METH_KEYWORDS,
     "Let calls of these classes give compiled phases, whose type is returned."},
    {"know_classes", (PyCFunction)(void (*)(void))know_classes, METH_VARARGS | METH_KEYWORDS,
     "Take in the classes of what a session writes with."},
    {"set_event_writer", set_event_writer, METH_O, "Let compiled phases be written by this writer; None: do nothing."},
    {"interpret", interpret, METH_O, "Let all phases go the Python way from now on, or the compiled one again."},
    {"forget_threads", forget_threads, METH_NOARGS, "Ask again for the name of each thread."},
    {NULL, NULL, 0, NULL},
};
