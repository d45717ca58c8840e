/* phasescope._native._core: the compiled core. See core.h for what it is, and each file for what it does. */
#include "core.h"
#include "crc32.h"

static int
add_type(PyObject *module, PyTypeObject **place, PyTypeObject *(*make)(PyObject *))
{
    *place = make(module);
    return *place == NULL ? -1 : PyModule_AddType(module, *place);
}

static int
core_exec(PyObject *module)
{
    CoreState *state = PyModule_GetState(module);
    crc32_set_up();
    if (make_context(state) < 0 || add_type(module, &state->scope_type, make_scope_type) < 0
        || add_type(module, &state->writer_type, make_writer_type) < 0
        || add_type(module, &state->open_type, make_open_type) < 0
        || add_type(module, &state->ring_type, make_ring_type) < 0
        || add_type(module, &state->resident_type, make_resident_type) < 0
        || add_type(module, &state->host_type, make_host_type) < 0
        || add_type(module, &state->sampler_type, make_sampler_type) < 0) {
        return -1;
    }
#ifdef Py_GIL_DISABLED
    /* The boundaries rely on the interpreter's lock: there phases stay Python's. */
    int has_phases = 0;
#else
    int has_phases = 1;
#endif
    if (PyModule_AddIntConstant(module, "INTERFACE", CORE_INTERFACE) < 0) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "HAS_PHASES", has_phases ? Py_True : Py_False) < 0
            || PyModule_AddFunctions(module, phase_functions) < 0
            || PyModule_AddFunctions(module, collection_functions) < 0
            || PyModule_AddFunctions(module, packing_functions) < 0
            || PyModule_AddFunctions(module, record_functions) < 0
            || PyModule_AddFunctions(module, fold_functions) < 0
            || PyModule_AddFunctions(module, row_functions) < 0
            || PyModule_AddFunctions(module, line_row_functions) < 0
            || PyModule_AddFunctions(module, bucket_functions) < 0
            || PyModule_AddFunctions(module, census_functions) < 0
            || PyModule_AddFunctions(module, ways_functions) < 0
            || PyModule_AddFunctions(module, frame_functions) < 0
            || PyModule_AddFunctions(module, thread_functions) < 0
        ? -1
        : 0;
}

static int
core_traverse(PyObject *module, visitproc visit, void *arg)
{
    CoreState *state = PyModule_GetState(module);
    Py_VISIT(state->scope_type);
    Py_VISIT(state->writer_type);
    Py_VISIT(state->open_type);
    Py_VISIT(state->ring_type);
    Py_VISIT(state->resident_type);
    Py_VISIT(state->host_type);
    Py_VISIT(state->sampler_type);
    return 0;
}

static PyModuleDef_Slot core_slots[] = {
    {Py_mod_exec, core_exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef core_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "phasescope._native._core",
    .m_doc = "The compiled core of phasescope.",
    .m_size = sizeof(CoreState),
    .m_slots = core_slots,
    .m_traverse = core_traverse,
};

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&core_module);
}
