/* The leaves around an engine call. See `known.py`, which does the same. */
#include "hot.h"

typedef struct {
    PyObject_HEAD
    PyObject *reference; /* to the tensor; anything else is called for it */
    long long serial, kind, owner, flags;
    long long grad_id, grad_version, held, after_id, after_version, late;
    char is_zero, was_zero;
} Known;

static PyTypeObject *known_type;

static PyObject *
create(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    Known *self = (Known *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->grad_version = self->after_version = self->late = -1;
    if (!PyArg_ParseTuple(args, "OLLLL", &self->reference, &self->serial, &self->kind,
                          &self->owner, &self->flags)) {
        self->reference = NULL;
        Py_DECREF(self);
        return NULL;
    }
    Py_INCREF(self->reference);
    return (PyObject *)self;
}

static void
dealloc(PyObject *object)
{
    PyTypeObject *kind = Py_TYPE(object);
    Py_XDECREF(((Known *)object)->reference);
    kind->tp_free(object);
    Py_DECREF(kind);
}

/* The tensor, a new reference; None: it is dead. */
static PyObject *
tensor_of(Known *self)
{
    if (!PyWeakref_CheckRef(self->reference))
        return PyObject_CallNoArgs(self->reference);
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *found = NULL;
    int lives = PyWeakref_GetRef(self->reference, &found);
    return lives < 0 ? NULL : lives ? found : Py_NewRef(Py_None);
#else
    PyObject *found = PyWeakref_GET_OBJECT(self->reference);
    return Py_NewRef(found);
#endif
}

static int
forget(PyObject *leaves, Known *self)
{
    PyObject *key = PyLong_FromLongLong(self->serial);
    int done = key == NULL ? -1 : PyDict_Contains(leaves, key);
    if (done == 1)
        done = PyDict_DelItem(leaves, key);
    Py_XDECREF(key);
    return done < 0 ? -1 : 0;
}

static int
has(PyObject *set, long long number)
{
    if (PySet_GET_SIZE(set) == 0)
        return 0;
    PyObject *key = PyLong_FromLongLong(number);
    int found = key == NULL ? -1 : PySet_Contains(set, key);
    Py_XDECREF(key);
    return found;
}

static int
append(PyObject *list, PyObject *made)
{
    int done = made == NULL ? -1 : PyList_Append(list, made);
    Py_XDECREF(made);
    return done;
}

/* What is noted of one leaf as the engine starts. */
static int
begin_one(Known *self, PyObject *tensor, PyObject *unsure)
{
    long long version = -1;
    PyObject *grad = leaf_grad(tensor, &version);
    if (grad == NULL)
        return -1;
    int done = 0, is_none = grad == Py_None;
    self->grad_id = is_none ? 0 : (long long)(uintptr_t)grad;
    self->grad_version = version;
    self->held = 0;
    if (!is_none && self->grad_id == self->after_id && version == self->after_version)
        self->held = self->late >= 0 ? UNSURE : self->is_zero ? 0 : HELD;
    else if (!is_none)
        done = append(unsure, PyTuple_Pack(2, self, grad));
    Py_DECREF(grad);
    return done;
}

static int
begin_any(PyObject *leaves, PyObject *unsafe, Known *self, PyObject *living, PyObject *unsure)
{
    if (Py_TYPE(self) != known_type) {
        PyErr_SetString(PyExc_TypeError, "no leaf that is followed");
        return -1;
    }
    PyObject *tensor = tensor_of(self);
    if (tensor == NULL)
        return -1;
    int done = 0;
    if (tensor == Py_None)
        done = forget(leaves, self);
    else if (self->kind != BUFFER && (done = has(unsafe, self->owner)) == 0) {
        done = append(living, PyTuple_Pack(2, self, tensor));
        if (done == 0)
            done = begin_one(self, tensor, unsure);
    }
    Py_DECREF(tensor);
    return done < 0 ? -1 : 0;
}

/* `begin(leaves, unsafe)`: (those alive, those whose gradient was changed). */
PyObject *
leaves_begin(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2 || !PyDict_CheckExact(args[0]) || !PyAnySet_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "begin(leaves, unsafe)");
        return NULL;
    }
    PyObject *all = PyDict_Values(args[0]); /* what dies meanwhile may change the dict */
    PyObject *living = PyList_New(0), *unsure = PyList_New(0);
    int done = all != NULL && living != NULL && unsure != NULL ? 0 : -1;
    for (Py_ssize_t at = 0; done == 0 && at < PyList_GET_SIZE(all); at++)
        done = begin_any(args[0], args[1], (Known *)PyList_GET_ITEM(all, at), living, unsure);
    Py_XDECREF(all);
    if (done == 0)
        return Py_BuildValue("(NN)", living, unsure);
    Py_XDECREF(living);
    Py_XDECREF(unsure);
    return NULL;
}

/* One row: its ten values. */
static int
write_row(PyObject *rows, long long backward, const Known *self, long long state, long long flags,
          long long version, PyObject *norm)
{
    PyObject *made[] = {
        PyLong_FromLongLong(backward), PyLong_FromLongLong(self->serial),
        PyLong_FromLongLong(state), PyLong_FromLongLong(flags), PyLong_FromLongLong(version),
        norm != NULL ? Py_NewRef(norm) : PyFloat_FromDouble(0.0), PyFloat_FromDouble(0.0),
        PyLong_FromLong(0), PyLong_FromLong(0), PyFloat_FromDouble(-1.0),
    };
    int done = 0;
    for (size_t at = 0; at < sizeof(made) / sizeof(made[0]); at++)
        done |= append(rows, made[at]);
    return done;
}

/* How one call of `end` is to be done, and what it has found. */
typedef struct {
    int full, measures;
    long long backward;
    PyObject *reached, *rows;
    PyObject *dense, *norms, *late;
} Ended;

/* What is noted of one leaf as the engine has ended. */
static int
end_one(const Ended *call, Known *self, const Look *seen, long long flags)
{
    int is_none = seen->kind == NO_GRAD;
    self->late = -1;
    self->after_id = is_none ? 0 : (long long)(uintptr_t)seen->grad;
    self->after_version = is_none ? -1 : seen->grad_version;
    long long version = seen->version > 0 ? seen->version : 0;
    if (is_none) {
        self->is_zero = 0;
        return write_row(call->rows, call->backward, self, NONE, flags, version, NULL);
    }
    if (self->after_id != self->grad_id || seen->grad_version != self->grad_version)
        flags |= FRESH;
    if (seen->kind == OTHER_GRAD) {
        PyObject *state = PyObject_CallOneArg(state_of_odd, seen->grad);
        long long number = state != NULL ? PyLong_AsLongLong(state) : -1;
        Py_XDECREF(state);
        self->is_zero = 0;
        if (number < 0)
            return -1;
        return write_row(call->rows, call->backward, self, number, flags, version, NULL);
    }
    int here = call->full || seen->kind == DENSE_HERE;
    if (here) {
        int asks = call->measures && seen->kind == DENSE_HERE;
        PyObject *norm = asks ? norm_here(seen->grad, seen->count) : Py_NewRef(Py_None);
        if (append(call->norms, norm) < 0)
            return -1;
    }
    PyObject *kept = Py_BuildValue("(OLOL)", self, version, seen->grad, flags);
    return append(here ? call->dense : call->late, kept);
}

static int
end_any(const Ended *call, PyObject *pair)
{
    if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2 ||
        Py_TYPE(PyTuple_GET_ITEM(pair, 0)) != known_type) {
        PyErr_SetString(PyExc_TypeError, "no leaf that is followed");
        return -1;
    }
    Known *self = (Known *)PyTuple_GET_ITEM(pair, 0);
    Look seen;
    if (leaf_look(PyTuple_GET_ITEM(pair, 1), &seen) < 0)
        return -1;
    int was_reached = has(call->reached, self->serial);
    long long flags = self->flags | self->held | seen.flags | (was_reached == 1 ? REACHED : 0);
    int done = was_reached < 0 ? -1 : end_one(call, self, &seen, flags);
    Py_DECREF(seen.grad);
    return done;
}

/* `end(living, reached, full, measures, backward, rows)`: (those to be looked at, their norms,
 * late).
 */
PyObject *
leaves_end(PyObject *module, PyObject *args)
{
    PyObject *living;
    Ended call = {0};
    if (!PyArg_ParseTuple(args, "O!OppLO!", &PyList_Type, &living, &call.reached, &call.full,
                          &call.measures, &call.backward, &PyList_Type, &call.rows))
        return NULL;
    if (!PyAnySet_Check(call.reached)) {
        PyErr_SetString(PyExc_TypeError, "a set of serials is wanted");
        return NULL;
    }
    call.dense = PyList_New(0);
    call.norms = PyList_New(0);
    call.late = PyList_New(0);
    int done = call.dense != NULL && call.norms != NULL && call.late != NULL ? 0 : -1;
    for (Py_ssize_t at = 0; done == 0 && at < PyList_GET_SIZE(living); at++) {
        PyObject *pair = Py_NewRef(PyList_GET_ITEM(living, at));
        done = end_any(&call, pair);
        Py_DECREF(pair);
    }
    if (done == 0)
        return Py_BuildValue("(NNN)", call.dense, call.norms, call.late);
    Py_XDECREF(call.dense);
    Py_XDECREF(call.norms);
    Py_XDECREF(call.late);
    return NULL;
}

/* `all_finite(dense, norms, backward, rows)`: whether all are; then their rows are written. */
PyObject *
leaves_all_finite(PyObject *module, PyObject *args)
{
    PyObject *dense, *norms, *rows;
    long long backward;
    if (!PyArg_ParseTuple(args, "O!O!LO!", &PyList_Type, &dense, &PyList_Type, &norms, &backward,
                          &PyList_Type, &rows))
        return NULL;
    Py_ssize_t count = PyList_GET_SIZE(norms);
    for (Py_ssize_t at = 0; at < count; at++) {
        PyObject *norm = PyList_GET_ITEM(norms, at);
        double value = PyFloat_CheckExact(norm) ? PyFloat_AS_DOUBLE(norm) : 0.0;
        if (!(value > 0.0 && value < Py_HUGE_VAL))
            Py_RETURN_FALSE;
    }
    if (PyList_GET_SIZE(dense) != count) {
        PyErr_SetString(PyExc_ValueError, "a norm for each gradient is wanted");
        return NULL;
    }
    for (Py_ssize_t at = 0; at < count; at++) {
        Known *self;
        long long version, flags;
        PyObject *grad;
        if (!PyArg_ParseTuple(PyList_GET_ITEM(dense, at), "O!LOL", known_type, &self, &version,
                              &grad, &flags))
            return NULL;
        self->is_zero = self->was_zero = 0;
        if (write_row(rows, backward, self, FINITE, flags, version, PyList_GET_ITEM(norms, at)) < 0)
            return NULL;
    }
    Py_RETURN_TRUE;
}

#define NUMBER(word) {#word, T_LONGLONG, offsetof(Known, word), 0, NULL},
static PyMemberDef members[] = {
    {"reference", T_OBJECT_EX, offsetof(Known, reference), 0, NULL},
    NUMBER(serial) NUMBER(kind) NUMBER(owner) NUMBER(flags) NUMBER(grad_id) NUMBER(grad_version)
    NUMBER(held) NUMBER(after_id) NUMBER(after_version) NUMBER(late)
    {"is_zero", T_BOOL, offsetof(Known, is_zero), 0, NULL},
    {"was_zero", T_BOOL, offsetof(Known, was_zero), 0, NULL},
    {NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "One leaf that the recorder follows."},
    {Py_tp_members, members},
    {Py_tp_new, create},
    {Py_tp_dealloc, dealloc},
    {0, NULL},
};

static PyType_Spec known_spec = {
    .name = "gradpm.record._hot.Known",
    .basicsize = sizeof(Known),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};

/* The type `Known`, a new reference. */
PyObject *
leaves_type(void)
{
    known_type = (PyTypeObject *)PyType_FromSpec(&known_spec);
    return Py_XNewRef(known_type);
}
