/* The module: what it is told once, and its two types. */
#include "hot.h"

PyTypeObject *Tensor, *Parameter, *ParameterList, *Token, *Lines, *Calls;
PyObject *grad_enabled, *inference_enabled, *sequence_number, *dispatch, *mode_depth, *mode_pop,
    *mode_push, *measured, *strided, *single, *grad_of_any, *look_at_any, *state_of_odd,
    *is_whole_any, *numel_of, *contiguous_of, *storage_of, *nbytes_of, *element_size_of,
    *offset_in_storage, *address_of;
long long PASS, GRAD_ENABLED, INFERENCE, IN_REQUIRES, TRACKED, LEAF, NO_LEAF, LOOKED_AT, IS_LEAF,
    REQUIRES, REACHED, FRESH, HELD, UNSURE, BUFFER, NONE, FINITE;
PyObject *op_tap;
Py_ssize_t lines_at, scope_at, sites_at, tokens_at, inner_at, code_at, calls_at;
Py_ssize_t ids_at, count_at, epoch_at;

#define DEFINE(word) PyObject *str_##word;
NAMES(DEFINE)

/* Where a slot of a class with `__slots__` is in its objects. */
static Py_ssize_t
slot_of(PyObject *kind, const char *name)
{
    PyObject *found = PyObject_GetAttrString(kind, name);
    if (found == NULL)
        return -1;
    Py_ssize_t at = -1;
    if (Py_TYPE(found) == &PyMemberDescr_Type)
        at = ((PyMemberDescrObject *)found)->d_member->offset;
    else
        PyErr_Format(PyExc_TypeError, "%s is no slot", name);
    Py_DECREF(found);
    return at;
}

static int
find_slots(void)
{
    const struct {
        PyTypeObject *kind;
        const char *name;
        Py_ssize_t *at;
    } wanted[] = {
        {Token, "lines", &lines_at}, {Token, "scope", &scope_at}, {Lines, "sites", &sites_at},
        {Lines, "tokens", &tokens_at}, {Lines, "inner", &inner_at}, {Lines, "code", &code_at},
        {Lines, "calls", &calls_at}, {Calls, "ids", &ids_at}, {Calls, "count", &count_at},
        {Calls, "epoch", &epoch_at},
    };
    for (size_t at = 0; at < sizeof(wanted) / sizeof(wanted[0]); at++)
        if ((*wanted[at].at = slot_of((PyObject *)wanted[at].kind, wanted[at].name)) < 0)
            return -1;
    return 0;
}

#define COUNT_OF(array) ((Py_ssize_t)(sizeof(array) / sizeof((array)[0])))

/* `configure(types, questions, flags)`: all of it is held for as long as the process lives. */
static PyObject *
configure(PyObject *module, PyObject *args)
{
    PyTypeObject **types[] = {&Tensor, &Parameter, &ParameterList, &Token, &Lines, &Calls};
    PyObject **questions[] = {&grad_enabled, &inference_enabled, &sequence_number, &dispatch,
                              &mode_depth, &mode_pop, &mode_push, &measured, &strided, &single,
                              &grad_of_any, &look_at_any, &state_of_odd,
                              &is_whole_any, &numel_of, &contiguous_of, &storage_of,
                              &nbytes_of, &element_size_of, &offset_in_storage, &address_of};
    long long *flags[] = {&PASS, &GRAD_ENABLED, &INFERENCE, &IN_REQUIRES, &TRACKED, &LEAF,
                          &NO_LEAF, &LOOKED_AT, &IS_LEAF, &REQUIRES, &REACHED, &FRESH, &HELD,
                          &UNSURE, &BUFFER, &NONE, &FINITE};
    PyObject *given[3];
    if (!PyArg_ParseTuple(args, "O!O!O!", &PyTuple_Type, &given[0], &PyTuple_Type, &given[1],
                          &PyTuple_Type, &given[2]))
        return NULL;
    if (PyTuple_GET_SIZE(given[0]) != COUNT_OF(types) ||
        PyTuple_GET_SIZE(given[1]) != COUNT_OF(questions) ||
        PyTuple_GET_SIZE(given[2]) != COUNT_OF(flags)) {
        PyErr_SetString(PyExc_TypeError, "other types, questions or flags are wanted");
        return NULL;
    }
    for (Py_ssize_t at = 0; at < COUNT_OF(types); at++)
        *types[at] = (PyTypeObject *)Py_NewRef(PyTuple_GET_ITEM(given[0], at));
    for (Py_ssize_t at = 0; at < COUNT_OF(questions); at++)
        *questions[at] = Py_NewRef(PyTuple_GET_ITEM(given[1], at));
    for (Py_ssize_t at = 0; at < COUNT_OF(flags); at++)
        *flags[at] = PyLong_AsLongLong(PyTuple_GET_ITEM(given[2], at));
    return PyErr_Occurred() || find_slots() < 0 ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef functions[] = {
    {"configure", configure, METH_VARARGS, "Tell torch's types and questions, and the flags."},
    {"begin", (PyCFunction)(void (*)(void))leaves_begin, METH_FASTCALL, "See known.begin."},
    {"end", leaves_end, METH_VARARGS, "See known.end."},
    {"all_finite", leaves_all_finite, METH_VARARGS, "See known.all_finite."},
    {NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "gradpm.record._hot", "The op tap's hot path, compiled.", -1, functions,
};

static int
add_type(PyObject *module, PyType_Spec *spec, const char *name)
{
    PyObject *kind = PyType_FromSpec(spec);
    if (kind != NULL && PyModule_AddObject(module, name, kind) == 0)
        return 0;
    Py_XDECREF(kind);
    return -1;
}

PyMODINIT_FUNC
PyInit__hot(void)
{
#define INTERN(word) \
    if ((str_##word = PyUnicode_InternFromString(#word)) == NULL) \
        return NULL;
    NAMES(INTERN)
    if ((op_tap = PyUnicode_InternFromString("op tap")) == NULL)
        return NULL;
    PyObject *module = PyModule_Create(&definition);
    if (module != NULL && (add_type(module, &buffer_spec, "OpBuffer") < 0 ||
                           add_type(module, &tap_spec, "HotTap") < 0 ||
                           add_type(module, &mode_spec, "ModeOff") < 0 ||
                           PyModule_AddObject(module, "Known", leaves_type()) < 0))
        Py_CLEAR(module);
    return module;
}
