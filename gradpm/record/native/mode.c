/* What takes the tap off while torch's own Python functions run it.
 *
 * `torch.overrides._pop_mode_temporarily` as torch has it is a generator; this does the same
 * in a tenth of the time, for every call of relu, softmax, layer_norm and the like.
 */
#include "hot.h"

typedef struct {
    PyObject_HEAD
    PyObject *mode;
} ModeOff;

static PyObject *
enter(PyObject *object, PyObject *unused)
{
    ModeOff *self = (ModeOff *)object;
    PyObject *mode = PyObject_CallNoArgs(mode_pop);
    if (mode == NULL)
        return NULL;
    Py_XSETREF(self->mode, mode);
    return Py_NewRef(mode);
}

static PyObject *
leave(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    ModeOff *self = (ModeOff *)object;
    PyObject *mode = self->mode;
    self->mode = NULL;
    if (mode == NULL)
        Py_RETURN_NONE;
    PyObject *done = PyObject_CallOneArg(mode_push, mode);
    Py_DECREF(mode);
    return done;
}

static void
dealloc(PyObject *object)
{
    PyTypeObject *kind = Py_TYPE(object);
    Py_XDECREF(((ModeOff *)object)->mode);
    kind->tp_free(object);
    Py_DECREF(kind);
}

static PyMethodDef methods[] = {
    {"__enter__", enter, METH_NOARGS, "Take the innermost torch function mode off; it."},
    {"__exit__", (PyCFunction)(void (*)(void))leave, METH_FASTCALL, "Put it on again."},
    {NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Stands for torch.overrides._pop_mode_temporarily."},
    {Py_tp_methods, methods},
    {Py_tp_dealloc, dealloc},
    {0, NULL},
};

PyType_Spec mode_spec = {
    .name = "gradpm.record._hot.ModeOff",
    .basicsize = sizeof(ModeOff),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};
