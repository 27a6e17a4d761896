/* One op row: what went in, what came out, in which mode. */
#include "hot.h"

#define DEEPEST 4

/* Whether a weak reference is to this object. */
int
is_alive(PyObject *reference, PyObject *object)
{
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *found = NULL;
    if (PyWeakref_GetRef(reference, &found) < 1)
        return 0;
    Py_DECREF(found);
    return found == object;
#else
    return PyWeakref_GET_OBJECT(reference) == object;
#endif
}

/* The entry (reference, serial, spec) of a tensor in `known`, borrowed; NULL: a stranger. */
static PyObject *
entry_of(HotTap *self, PyObject *tensor)
{
    PyObject *key = PyLong_FromVoidPtr(tensor);
    if (key == NULL)
        return NULL;
    PyObject *entry = PyDict_GetItemWithError(self->known, key);
    Py_DECREF(key);
    return entry != NULL && is_alive(PyTuple_GET_ITEM(entry, 0), tensor) ? entry : NULL;
}

/* Note the tensors of an argument. */
static int
collect(HotTap *self, Inputs *in, PyObject *arg, int depth)
{
    PyTypeObject *kind = Py_TYPE(arg);
    if (kind == Tensor || kind == Parameter) {
        PyObject *entry = entry_of(self, arg);
        if (entry == NULL || in->count == MOST_TENSORS)
            return PyErr_Occurred() ? -1 : 0;
        long spec = PyLong_AsLong(PyTuple_GET_ITEM(entry, 2));
        in->like = in->like < 0 || in->like == spec ? spec : 0;
        in->tensors[in->count] = Py_NewRef(arg);
        in->serials[in->count++] = PyLong_AsLongLong(PyTuple_GET_ITEM(entry, 1));
        return PyErr_Occurred() ? -1 : 1;
    }
    if (kind == &PyLong_Type || kind == &PyBool_Type || kind == &PyUnicode_Type || arg == Py_None)
        return 1;
    if (kind == &PyFloat_Type) { /* may be a number that has left torch */
        int met = PyDict_GET_SIZE(self->values) ? PyDict_Contains(self->values, arg) : 0;
        return met < 0 ? -1 : !met;
    }
    in->like = 0;
    if (kind == &PyList_Type || PyTuple_Check(arg)) {
        for (Py_ssize_t at = 0; depth < DEEPEST && at < PySequence_Fast_GET_SIZE(arg); at++) {
            int done = collect(self, in, PySequence_Fast_GET_ITEM(arg, at), depth + 1);
            if (done < 1)
                return done;
        }
        return 1;
    }
    return kind != &PyDict_Type && !PyType_IsSubtype(kind, Tensor) &&
           !PyType_IsSubtype(kind, ParameterList);
}

/* A yes-or-no function of torch's. */
static int
call(PyObject *function)
{
    PyObject *answer = PyObject_CallNoArgs(function);
    Py_XDECREF(answer);
    return answer == NULL ? -1 : answer == Py_True;
}

static long long
number(PyObject *function)
{
    PyObject *answer = PyObject_CallNoArgs(function);
    if (answer == NULL)
        return -1;
    long long found = PyLong_AsLongLong(answer);
    Py_DECREF(answer);
    return found;
}

/* The id of a tensor's shape, type and device; 0: not known yet. */
static long
spec_of(HotTap *self, PyObject *tensor)
{
    PyObject *shape = PyObject_GetAttr(tensor, str_shape);
    PyObject *dtype = shape != NULL ? PyObject_GetAttr(tensor, str_dtype) : NULL;
    PyObject *device = dtype != NULL ? PyObject_GetAttr(tensor, str_device) : NULL;
    PyObject *key = device != NULL ? PyTuple_Pack(3, shape, dtype, device) : NULL;
    PyObject *found = key != NULL ? PyDict_GetItemWithError(self->specs, key) : NULL;
    long spec = found != NULL ? PyLong_AsLong(found) : PyErr_Occurred() ? -1 : 0;
    Py_XDECREF(shape);
    Py_XDECREF(dtype);
    Py_XDECREF(device);
    Py_XDECREF(key);
    return spec;
}

/* The flags that matter only where nothing that came out requires grad. */
static long long
untracked(const Inputs *in)
{
    int inference = call(inference_enabled);
    if (inference < 0)
        return -1;
    for (Py_ssize_t at = 0; at < in->count; at++) {
        int requires = ask(in->tensors[at], str_requires_grad);
        if (requires < 0)
            return -1;
        if (requires)
            return IN_REQUIRES | (inference ? INFERENCE : 0);
    }
    return inference ? INFERENCE : 0;
}

/* The serial of what came out, given now if it is new. */
static long long
serial_of(HotTap *self, PyObject *result, long spec)
{
    PyObject *entry = entry_of(self, result);
    if (entry != NULL)
        return PyLong_AsLongLong(PyTuple_GET_ITEM(entry, 1));
    if (PyErr_Occurred())
        return -1;
    long long serial = -1;
    PyObject *key = PyLong_FromVoidPtr(result);
    PyObject *reference = PyWeakref_NewRef(result, NULL);
    PyObject *given = PyObject_CallNoArgs(self->next_serial);
    PyObject *kind = PyLong_FromLong(spec);
    if (key != NULL && reference != NULL && given != NULL && kind != NULL) {
        PyObject *made = PyTuple_Pack(3, reference, given, kind);
        if (made != NULL && PyDict_SetItem(self->known, key, made) == 0)
            serial = PyLong_AsLongLong(given);
        Py_XDECREF(made);
    }
    Py_XDECREF(key);
    Py_XDECREF(reference);
    Py_XDECREF(given);
    Py_XDECREF(kind);
    return serial;
}

/* What its operands say of a result's spec; 0: nothing. */
static long
spec_kept(HotTap *self, PyObject *plan, const Inputs *in)
{
    if (PyTuple_GET_ITEM(plan, 1) != Py_True || in->like < 1)
        return 0;
    PyObject *spec = PyLong_FromLong(in->like);
    int floating = spec != NULL ? PySet_Contains(self->floating, spec) : -1;
    Py_XDECREF(spec);
    return floating < 0 ? -1 : floating ? in->like : 0;
}

static int
collect_all(HotTap *self, Inputs *in, PyObject *args, PyObject *kwargs)
{
    int done = 1;
    for (Py_ssize_t at = 0; done == 1 && at < PyTuple_GET_SIZE(args); at++)
        done = collect(self, in, PyTuple_GET_ITEM(args, at), 0);
    PyObject *key, *value;
    Py_ssize_t position = 0;
    while (done == 1 && kwargs != NULL && PyDict_Next(kwargs, &position, &key, &value))
        done = collect(self, in, value, 0);
    return done;
}

/* Write down a call that has returned one tensor. */
static int
write_row(HotTap *self, PyObject *plan, PyObject *args, PyObject *kwargs, PyObject *result,
          const Place *place, Inputs *in)
{
    int done = Py_TYPE(result) == Tensor ? collect_all(self, in, args, kwargs) : 0;
    if (done != 1)
        return done;
    int tracked = ask(result, str_requires_grad);
    int leaf = tracked == 1 ? ask(result, str_is_leaf) : 0;
    if (tracked < 0 || leaf < 0)
        return -1;
    long long flags = tracked ? TRACKED : untracked(in);
    int enabled = flags < 0 ? -1 : call(grad_enabled);
    if (enabled < 0)
        return -1;
    long spec = spec_kept(self, plan, in);
    if (spec == 0)
        spec = spec_of(self, result);
    if (spec < 1)
        return (int)spec;
    OpOut out = {.spec = (uint32_t)spec, .flags = tracked ? (leaf ? LEAF : NO_LEAF) : 0};
    OpRow row = {
        .name = (uint32_t)PyLong_AsLongLong(PyTuple_GET_ITEM(plan, 0)),
        .frame = (uint32_t)PyLong_AsLongLong(place->stack),
        .scope = (uint32_t)PyLong_AsLongLong(place->scope),
        .flags = (uint32_t)(self->place | flags | (enabled ? GRAD_ENABLED : 0)),
        .ins = (uint16_t)in->count,
        .outs = 1,
    };
    out.serial = serial_of(self, result, spec);
    row.sequence = PyErr_Occurred() ? -1 : number(sequence_number);
    long long op = PyErr_Occurred() ? -1 : number(self->next_op);
    if (PyErr_Occurred())
        return -1;
    row.id = self->last_op = op;
    return buffer_append((OpBuffer *)self->rows, &row, in->serials, &out) < 0 ? -1 : 1;
}

/* The same for one call: its tensors are held meanwhile, since a list may be emptied. */
int
op_write(HotTap *self, PyObject *plan, PyObject *args, PyObject *kwargs, PyObject *result,
         const Place *place)
{
    Inputs in = {.count = 0, .like = -1};
    int done = write_row(self, plan, args, kwargs, result, place, &in);
    PyObject *kind, *error, *traceback;
    PyErr_Fetch(&kind, &error, &traceback);
    while (in.count > 0)
        Py_DECREF(in.tensors[--in.count]);
    PyErr_Restore(kind, error, traceback);
    return done;
}

/* Whether a call of a singular op cannot go wrong: see `singular.is_tame`. */
int
op_is_tame(long way, PyObject *args)
{
    if (way == IF_TRACKED) {
        PyObject *first = PyTuple_GET_SIZE(args) ? PyTuple_GET_ITEM(args, 0) : Py_None;
        PyTypeObject *kind = Py_TYPE(first);
        return kind == Tensor || kind == Parameter ? ask(first, str_requires_grad) : 0;
    }
    if (PyTuple_GET_SIZE(args) < 2)
        return 0;
    PyObject *second = PyTuple_GET_ITEM(args, 1);
    if (Py_TYPE(second) != &PyLong_Type && Py_TYPE(second) != &PyFloat_Type)
        return 0;
    double value = PyFloat_AsDouble(second);
    if (PyErr_Occurred()) { /* a larger number than a double holds */
        PyErr_Clear();
        return 0;
    }
    return way == IF_DIVIDED ? value != 0.0 : value >= 1.0;
}
