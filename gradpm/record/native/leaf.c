/* What is asked of one leaf. See `known.py`. */
#include "hot.h"

/* A yes-or-no attribute of a tensor. */
int
ask(PyObject *tensor, PyObject *name)
{
    PyObject *answer = PyObject_GetAttr(tensor, name);
    Py_XDECREF(answer); /* True and False outlive this */
    return answer == NULL ? -1 : answer == Py_True;
}

/* A version counter; -1 where there is none (inference tensors). */
long long
version_of(PyObject *tensor)
{
    PyObject *version = PyObject_GetAttr(tensor, str__version);
    long long found = version != NULL ? PyLong_AsLongLong(version) : -1;
    Py_XDECREF(version);
    if (PyErr_ExceptionMatches(PyExc_RuntimeError))
        PyErr_Clear();
    return found;
}

static int
is_exact(PyObject *tensor)
{
    return Py_TYPE(tensor) == Tensor || Py_TYPE(tensor) == Parameter;
}

/* The `.grad` of a tensor that may have one, or None; a new reference. */
static PyObject *
grad_of(PyObject *tensor, int is_leaf)
{
    int has = is_leaf ? 1 : ask(tensor, str_retains_grad);
    return has < 0 ? NULL : has ? PyObject_GetAttr(tensor, str_grad) : Py_NewRef(Py_None);
}

/* Whether norms of a gradient can be taken, and where it is. */
static int
kind_of(PyObject *grad, long long *count)
{
    *count = 0;
    PyObject *dtype = PyObject_GetAttr(grad, str_dtype);
    PyObject *layout = dtype != NULL ? PyObject_GetAttr(grad, str_layout) : NULL;
    int plain = layout != NULL ? PySet_Contains(measured, dtype) : -1;
    if (plain == 1)
        plain = layout == strided;
    int odd = plain == 1 ? ask(grad, str_is_nested) : 0;
    if (plain == 1 && odd == 0)
        odd = ask(grad, str_is_meta);
    if (plain == 1 && odd == 0)
        plain = is_whole(grad, count);
    int here = plain == 1 && odd == 0 ? ask(grad, str_is_cpu) : 0;
    Py_XDECREF(dtype);
    Py_XDECREF(layout);
    if (plain < 0 || odd < 0 || here < 0)
        return -1;
    return plain == 0 || odd ? OTHER_GRAD : here ? DENSE_HERE : DENSE_ELSEWHERE;
}

/* The answer of a question in Python about a tensor whose own code may be asked. */
static PyObject *
asked(PyObject *question, PyObject *tensor, Py_ssize_t size)
{
    PyObject *found = PyObject_CallOneArg(question, tensor);
    if (found != NULL && (!PyTuple_CheckExact(found) || PyTuple_GET_SIZE(found) != size)) {
        PyErr_SetString(PyExc_TypeError, "another answer was wanted");
        Py_CLEAR(found);
    }
    return found;
}

/* The `.grad` of a tensor, or None, a new reference; and its version, -1 for none. */
PyObject *
leaf_grad(PyObject *tensor, long long *version)
{
    PyObject *grad = NULL;
    int is_leaf = is_exact(tensor) ? ask(tensor, str_is_leaf) : 0;
    if (is_exact(tensor) && is_leaf >= 0)
        grad = grad_of(tensor, is_leaf);
    if (PyErr_Occurred())
        return NULL;
    *version = -1;
    if (grad == NULL || (grad != Py_None && !is_exact(grad))) {
        Py_XDECREF(grad);
        PyObject *found = asked(grad_of_any, tensor, 2);
        if (found == NULL)
            return NULL;
        grad = Py_NewRef(PyTuple_GET_ITEM(found, 0));
        *version = PyLong_AsLongLong(PyTuple_GET_ITEM(found, 1));
        Py_DECREF(found);
    }
    else if (grad != Py_None)
        *version = version_of(grad);
    if (PyErr_Occurred())
        Py_CLEAR(grad);
    return grad;
}

/* The same of any tensor, by the code in Python. */
static int
look_in_python(PyObject *tensor, Look *seen)
{
    PyObject *found = asked(look_at_any, tensor, 5);
    if (found == NULL)
        return -1;
    seen->count = 0;
    seen->flags = PyLong_AsLongLong(PyTuple_GET_ITEM(found, 0));
    seen->version = PyLong_AsLongLong(PyTuple_GET_ITEM(found, 1));
    seen->grad = Py_NewRef(PyTuple_GET_ITEM(found, 2));
    seen->grad_version = PyLong_AsLongLong(PyTuple_GET_ITEM(found, 3));
    seen->kind = (int)PyLong_AsLong(PyTuple_GET_ITEM(found, 4));
    Py_DECREF(found);
    if (!PyErr_Occurred())
        return 0;
    Py_CLEAR(seen->grad);
    return -1;
}

/* All that is asked of a leaf; 0, or -1. `seen->grad` is a new reference. */
int
leaf_look(PyObject *tensor, Look *seen)
{
    if (!is_exact(tensor))
        return look_in_python(tensor, seen);
    int is_leaf = ask(tensor, str_is_leaf);
    int requires = is_leaf < 0 ? -1 : ask(tensor, str_requires_grad);
    seen->grad = requires < 0 ? NULL : grad_of(tensor, is_leaf);
    if (seen->grad == NULL)
        return -1;
    if (seen->grad != Py_None && !is_exact(seen->grad)) {
        Py_CLEAR(seen->grad);
        return look_in_python(tensor, seen);
    }
    seen->flags = (is_leaf ? IS_LEAF : 0) | (requires ? REQUIRES : 0);
    seen->kind = seen->grad != Py_None ? kind_of(seen->grad, &seen->count) : NO_GRAD;
    seen->version = PyErr_Occurred() ? -1 : version_of(tensor);
    seen->grad_version = PyErr_Occurred() || seen->grad == Py_None ? -1 : version_of(seen->grad);
    if (!PyErr_Occurred())
        return 0;
    Py_CLEAR(seen->grad);
    return -1;
}
