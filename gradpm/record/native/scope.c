/* Module calls: see `scopes.py`, which meets what is new. */
#include "hot.h"

/* The module that a `_call_impl` frame runs; a new reference. */
static PyObject *
module_of(PyObject *frame)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyFrame_GetVar((PyFrameObject *)frame, str_self);
#else
    PyObject *locals = PyObject_GetAttr(frame, str_f_locals);
    PyObject *module = locals != NULL ? PyDict_GetItemWithError(locals, str_self) : NULL;
    Py_XINCREF(module);
    Py_XDECREF(locals);
    return module;
#endif
}

/* The number of a module met before; -1: it is new. */
static long
number_of(HotTap *self, PyObject *module)
{
    PyObject *id = PyLong_FromVoidPtr(module);
    PyObject *known = id != NULL ? PyDict_GetItemWithError(self->module_ids, id) : NULL;
    Py_XDECREF(id);
    if (known == NULL || !is_alive(PyTuple_GET_ITEM(known, 0), module))
        return -1;
    return PyLong_AsLong(PyTuple_GET_ITEM(known, 1));
}

/* The token of the next call of a module from this line, since the last engine call.
 *
 * The call is counted only if all of it was met before.
 */
static PyObject *
next_call(HotTap *self, long module, PyObject *outer, PyObject *lines)
{
    PyObject *key = PyLong_FromLongLong(PyLong_AsLongLong(outer) * MOST_MODULES + module);
    PyObject *calls = key != NULL ? PyDict_GetItemWithError(SLOT(lines, calls_at), key) : NULL;
    PyObject *epoch = calls != NULL ? PyObject_GetAttr(self->scopes, str_epoch) : NULL, *token = NULL;
    if (epoch != NULL) {
        int is_first = SLOT(calls, epoch_at) != epoch;
        Py_ssize_t count = is_first ? 0 : PyLong_AsSsize_t(SLOT(calls, count_at));
        PyObject *ids = SLOT(calls, ids_at);
        PyObject *more = count < PyList_GET_SIZE(ids) ? PyLong_FromSsize_t(count + 1) : NULL;
        if (more != NULL)
            token = PyDict_GetItemWithError(SLOT(lines, tokens_at), PyList_GET_ITEM(ids, count));
        if (token != NULL) {
            Py_INCREF(token);
            Py_SETREF(SLOT(calls, count_at), Py_NewRef(more));
            Py_SETREF(SLOT(calls, epoch_at), Py_NewRef(epoch));
        }
        Py_XDECREF(more);
    }
    Py_XDECREF(key);
    Py_XDECREF(epoch);
    return token;
}

/* NULL, without an exception, where something is new: Python meets it, under its guard. */
PyObject *
scope_token(HotTap *self, PyObject *frame, PyObject *outer, PyObject *lines)
{
    PyObject *module = module_of(frame);
    long which = module != NULL ? number_of(self, module) : -1;
    PyObject *token = which >= 0 ? next_call(self, which, outer, lines) : NULL;
    Py_XDECREF(module);
    if (token == NULL)
        PyErr_Clear();
    return token;
}
