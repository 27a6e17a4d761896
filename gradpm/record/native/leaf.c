/* What is asked of each leaf in each engine call. See `leaves.py`. */
#include "hot.h"

enum { NO_GRAD = 0, DENSE_HERE = 1, DENSE_ELSEWHERE = 2, OTHER_GRAD = 3 };

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
kind_of(PyObject *grad)
{
    PyObject *dtype = PyObject_GetAttr(grad, str_dtype);
    PyObject *layout = dtype != NULL ? PyObject_GetAttr(grad, str_layout) : NULL;
    int plain = layout != NULL ? PySet_Contains(measured, dtype) : -1;
    if (plain == 1)
        plain = layout == strided;
    int odd = plain == 1 ? ask(grad, str_is_nested) : 0;
    if (plain == 1 && odd == 0)
        odd = ask(grad, str_is_meta);
    int here = plain == 1 && odd == 0 ? ask(grad, str_is_cpu) : 0;
    Py_XDECREF(dtype);
    Py_XDECREF(layout);
    if (plain < 0 || odd < 0 || here < 0)
        return -1;
    return plain == 0 || odd ? OTHER_GRAD : here ? DENSE_HERE : DENSE_ELSEWHERE;
}

/* `grad_of(tensor)`: (its gradient or None, the gradient's version); None for a subclass. */
PyObject *
leaf_grad(PyObject *module, PyObject *tensor)
{
    if (!is_exact(tensor))
        Py_RETURN_NONE;
    int is_leaf = ask(tensor, str_is_leaf);
    PyObject *grad = is_leaf < 0 ? NULL : grad_of(tensor, is_leaf);
    if (grad == NULL)
        return NULL;
    if (grad != Py_None && !is_exact(grad)) {
        Py_DECREF(grad);
        Py_RETURN_NONE;
    }
    long long version = grad != Py_None ? version_of(grad) : -1;
    if (PyErr_Occurred()) {
        Py_DECREF(grad);
        return NULL;
    }
    return Py_BuildValue("(NL)", grad, version);
}

/* `look(tensor)`: (flags, its version, its gradient or None, the gradient's version, the
 * gradient's kind); None where a subclass's own code would be asked.
 */
PyObject *
leaf_look(PyObject *module, PyObject *tensor)
{
    if (!is_exact(tensor))
        Py_RETURN_NONE;
    int is_leaf = ask(tensor, str_is_leaf);
    int requires = is_leaf < 0 ? -1 : ask(tensor, str_requires_grad);
    PyObject *grad = requires < 0 ? NULL : grad_of(tensor, is_leaf);
    if (grad == NULL)
        return NULL;
    int kind = NO_GRAD;
    long long version = version_of(tensor), grad_version = -1;
    if (grad != Py_None && !PyErr_Occurred()) {
        kind = is_exact(grad) ? kind_of(grad) : OTHER_GRAD;
        grad_version = is_exact(grad) && kind >= 0 ? version_of(grad) : -1;
    }
    if (PyErr_Occurred() || (grad != Py_None && !is_exact(grad))) {
        Py_DECREF(grad);
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    }
    long long flags = (is_leaf ? IS_LEAF : 0) | (requires ? REQUIRES : 0);
    return Py_BuildValue("(LLNLi)", flags, version, grad, grad_version, kind);
}
