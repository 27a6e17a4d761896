/* Which of the tensors that a call is given it has changed in place. */
#include "hot.h"


static int
note_version(Versions *before, PyObject *arg)
{
    if (Py_TYPE(arg) != Tensor && Py_TYPE(arg) != Parameter)
        return 0;
    if (before->count == MOST_TENSORS)
        return -1;
    before->tensors[before->count] = arg;
    before->versions[before->count++] = version_of(arg);
    return PyErr_Occurred() ? -1 : 0;
}

/* Note those among the arguments; 0, or -1: too many, or an exception. */
int
versions_note(Versions *before, PyObject *args, PyObject *kwargs)
{
    PyObject *key, *value;
    Py_ssize_t position = 0;
    for (Py_ssize_t at = 0; at < PyTuple_GET_SIZE(args); at++)
        if (note_version(before, PyTuple_GET_ITEM(args, at)) < 0)
            return -1;
    while (kwargs != NULL && PyDict_Next(kwargs, &position, &key, &value))
        if (note_version(before, value) < 0)
            return -1;
    return 0;
}

/* [(tensor, version), ...] of what was noted, if any of it has changed, else None. */
PyObject *
versions_changed(const Versions *before)
{
    int any = 0;
    for (Py_ssize_t at = 0; at < before->count && !PyErr_Occurred(); at++)
        any |= version_of(before->tensors[at]) != before->versions[at];
    if (PyErr_Occurred())
        return NULL;
    if (!any)
        return Py_NewRef(Py_None);
    PyObject *list = PyList_New(0);
    for (Py_ssize_t at = 0; list != NULL && at < before->count; at++) {
        PyObject *pair = Py_BuildValue("(OL)", before->tensors[at], before->versions[at]);
        if (pair == NULL || PyList_Append(list, pair) < 0)
            Py_CLEAR(list);
        Py_XDECREF(pair);
    }
    return list;
}
