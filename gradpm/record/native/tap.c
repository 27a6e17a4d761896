/* The tap: one call of a torch function, answered and written down. */
#include "hot.h"

/* Call a method of the tap's under the recorder's guard. */
static int
guarded(HotTap *self, PyObject *method, PyObject *const *args, size_t count)
{
    PyObject *all[12] = {NULL, self->recorder, op_tap, NULL};
    PyObject *act = all[3] = PyObject_GetAttr((PyObject *)self, method);
    PyObject *told = NULL;
    for (size_t at = 0; at < count; at++)
        all[4 + at] = args[at];
    if (act != NULL)
        told = PyObject_VectorcallMethod(str_guard, all + 1, count + 3, NULL);
    Py_XDECREF(act);
    Py_XDECREF(told);
    return told == NULL ? -1 : 0;
}

/* The call has returned: write it down here, or have it written. */
static int
returned(HotTap *self, PyObject *func, PyObject *plan, PyObject *args, PyObject *kwargs,
         PyObject *result, const Versions *before, const Place *place)
{
    PyObject *was = versions_changed(before);
    int done = was == NULL ? -1 : was != Py_None ? 0 : op_write(self, plan, args, kwargs, result, place);
    if (done < 0 && !PyErr_ExceptionMatches(PyExc_Exception)) {
        Py_XDECREF(was);
        return -1;
    }
    if (done < 1) { /* not so plain, not seen before, or a fault: `row` will meet it again */
        PyErr_Clear();
        PyObject *all[] = {func, args, kwargs != NULL ? kwargs : Py_None, result, place->frame,
                           place->stack, place->scope, was != NULL ? was : Py_None};
        done = guarded(self, str_keep, all, 8);
    }
    else
        done = self->last_op & LOOKED_AT ? 0 : guarded(self, str_now_and_then, NULL, 0);
    Py_XDECREF(was);
    return done;
}

/* The call has raised: have `method` told of it, and let it go on. */
static void
raised(HotTap *self, PyObject *method, PyObject *func, PyObject *args, PyObject *kwargs,
       PyObject *frame)
{
    PyObject *kind, *error, *traceback;
    PyErr_Fetch(&kind, &error, &traceback);
    PyErr_NormalizeException(&kind, &error, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(error, traceback);
    PyObject *all[] = {func, args, kwargs != NULL ? kwargs : Py_None, error, frame};
    int told = guarded(self, method, all, 5);
    Py_XDECREF(traceback);
    if (told < 0) { /* Ctrl-C, say */
        PyObject *new_kind, *new_error, *new_traceback;
        PyErr_Fetch(&new_kind, &new_error, &new_traceback);
        PyErr_NormalizeException(&new_kind, &new_error, &new_traceback);
        if (new_error != error && PyExceptionInstance_Check(new_error))
            PyException_SetContext(new_error, Py_NewRef(error));
        PyErr_Restore(new_kind, new_error, new_traceback);
        Py_XDECREF(kind);
        Py_XDECREF(error);
        return;
    }
    PyErr_Restore(kind, error, PyException_GetTraceback(error));
}

/* Call a function: one in Python from a frame that wears the user's line, see `tracebacks.py`. */
static PyObject *
called(PyObject *func, PyObject *args, PyObject *kwargs, const Place *place)
{
    if (!PyFunction_Check(func))
        return PyObject_Call(func, args, kwargs);
    PyObject *globals = PyObject_GetAttrString(place->frame, "f_globals");
    PyObject *stand = globals != NULL ? PyFunction_New(place->stand, globals) : NULL;
    PyObject *all[] = {func, args, kwargs != NULL ? kwargs : Py_None};
    PyObject *result = stand != NULL ? PyObject_Vectorcall(stand, all, 3, NULL) : NULL;
    Py_XDECREF(globals);
    Py_XDECREF(stand);
    return result;
}

/* Whether a function leaves no row and is slow to look up: its hash is computed in Python. */
static int
is_passing(HotTap *self, PyObject *func)
{
    if (!PyType_HasFeature(Py_TYPE(func), Py_TPFLAGS_HEAPTYPE))
        return 0;
    PyObject *id = PyLong_FromVoidPtr(func);
    int found = id == NULL ? -1 : PyDict_Contains(self->passing, id);
    Py_XDECREF(id);
    if (found < 0)
        PyErr_Clear();
    return found == 1;
}

static PyObject *
passed(HotTap *self, PyObject *func, PyObject *args, PyObject *kwargs, PyObject *frame)
{
    PyObject *result = PyObject_Call(func, args, kwargs);
    if (result == NULL)
        raised(self, str_went_by, func, args, kwargs, frame);
    return result;
}

/* What is not plain, or not known to be. */
static PyObject *
otherwise(HotTap *self, PyObject *func, PyObject *args, PyObject *kwargs, PyObject *frame)
{
    PyObject *plan = PyDict_GetItemWithError(self->plans, func);
    if (plan == NULL)
        PyErr_Clear(); /* it cannot be hashed, perhaps */
    else if (PyLong_AsLongLong(PyTuple_GET_ITEM(plan, 0)) == PASS)
        return passed(self, func, args, kwargs, frame);
    PyObject *all[] = {(PyObject *)self, func, args, kwargs != NULL ? kwargs : Py_None, frame};
    PyObject *result = PyObject_VectorcallMethod(str_otherwise, all, 5, NULL);
    if (result == NULL)
        raised(self, str_went_by, func, args, kwargs, frame);
    return result;
}

/* The frame of the user's that called: torch's Python functions come by a detour of two. */
static PyObject *
caller_of(PyObject *frame)
{
    PyObject *code = (PyObject *)PyFrame_GetCode((PyFrameObject *)frame);
    int detour = code == dispatch;
    Py_DECREF(code);
    if (!detour)
        return Py_NewRef(frame);
    PyObject *function = (PyObject *)PyFrame_GetBack((PyFrameObject *)frame), *caller = NULL;
    if (function != NULL)
        caller = (PyObject *)PyFrame_GetBack((PyFrameObject *)function);
    Py_XDECREF(function);
    return caller != NULL ? caller : Py_NewRef(frame);
}

/* Whether another mode of the program's would be asked what is asked of tensors here. */
static int
is_overheard(void)
{
    PyObject *depth = PyObject_CallNoArgs(mode_depth);
    long found = depth != NULL ? PyLong_AsLong(depth) : -1;
    Py_XDECREF(depth);
    return found != 0;
}

/* How a function is called, if this call of it is plain; -1: it is not. */
static long
way_of(HotTap *self, PyObject *plan, PyObject *args, PyObject *kwargs)
{
    PyThreadState *thread = PyThreadState_Get();
    if (thread->c_tracefunc != NULL || thread->c_profilefunc != NULL)
        return -1;
    if (PyList_GET_SIZE(self->closures) || is_overheard())
        return -1;
    if (kwargs != NULL && PyDict_Contains(kwargs, str_out))
        return -1;
    long way = PyLong_AsLong(PyTuple_GET_ITEM(plan, 2));
    return way & TAMED && op_is_tame(way & TAMED, args) != 1 ? -1 : way;
}

/* Whether an exception is set that is not to be swallowed: Ctrl-C, say. */
static int
is_users(void)
{
    return PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_Exception);
}

static PyObject *
run(HotTap *self, PyObject *func, PyObject *args, PyObject *kwargs, PyObject *frame)
{
    if (is_passing(self, func))
        return passed(self, func, args, kwargs, frame);
    PyObject *plan = Py_XNewRef(PyDict_GetItemWithError(self->plain, func));
    long way = plan != NULL ? way_of(self, plan, args, kwargs) : -1;
    if (way < 0) {
        Py_XDECREF(plan);
        if (is_users())
            return NULL;
        PyErr_Clear();
        return otherwise(self, func, args, kwargs, frame);
    }
    PyObject *result = NULL;
    Place place = {.frame = caller_of(frame)};
    Versions before = {.count = 0};
    int found = place_find(self, &place);
    if (found == 1 && way & MAY_MUTATE && versions_note(&before, args, kwargs) < 0) {
        found = is_users() ? -1 : 0;
        if (found == 0)
            PyErr_Clear();
    }
    if (found == 0)
        result = otherwise(self, func, args, kwargs, frame);
    else if (found == 1) {
        result = called(func, args, kwargs, &place);
        if (result == NULL)
            raised(self, str_refused, func, args, kwargs, place.frame);
        else if (returned(self, func, plan, args, kwargs, result, &before, &place) < 0)
            Py_CLEAR(result);
    }
    place_forget(&place);
    Py_DECREF(plan);
    return result;
}

static PyObject *
torch_function(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    static const char *const words[] = {"func", "types", "args", "kwargs"};
    PyObject *given[4] = {NULL, NULL, NULL, NULL};
    int bad = count > 4;
    for (Py_ssize_t at = 0; at < count && !bad; at++)
        given[at] = args[at];
    for (Py_ssize_t at = 0; names != NULL && at < PyTuple_GET_SIZE(names) && !bad; at++) {
        int slot = 0;
        while (slot < 4 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, at), words[slot]))
            slot++;
        bad = slot == 4 || given[slot] != NULL;
        if (!bad)
            given[slot] = args[count + at];
    }
    PyObject *named = given[3] == Py_None ? NULL : given[3];
    if (bad || given[0] == NULL || given[1] == NULL || (given[2] && !PyTuple_Check(given[2])) ||
        (named && !PyDict_Check(named))) {
        PyErr_SetString(PyExc_TypeError, "__torch_function__(func, types, args=(), kwargs=None)");
        return NULL;
    }
    if (named != NULL && PyDict_GET_SIZE(named) == 0)
        named = NULL;
    PyObject *all = given[2] != NULL ? Py_NewRef(given[2]) : PyTuple_New(0);
    PyObject *frame = (PyObject *)PyThreadState_GetFrame(PyThreadState_Get());
    PyObject *result = NULL;
    if (all != NULL && (frame == NULL || ((HotTap *)self)->recorder == NULL))
        result = PyObject_Call(given[0], all, named); /* no Python code, or not begun */
    else if (all != NULL)
        result = run((HotTap *)self, given[0], all, named, frame);
    Py_XDECREF(frame);
    Py_XDECREF(all);
    return result;
}

/* -- the type ---------------------------------------------------------------------------- */

#define HELD(X) \
    X(recorder) X(plain) X(plans) X(passing) X(known) X(specs) X(floating) X(rows) X(closures) X(values) \
    X(own_codes) X(lines) X(scopes) X(module_ids) X(call_impl) X(next_op) X(next_serial)

static int
traverse(PyObject *object, visitproc visit, void *arg)
{
    HotTap *self = (HotTap *)object;
#define VISIT(word) Py_VISIT(self->word);
    HELD(VISIT)
    Py_VISIT(Py_TYPE(object));
    return 0;
}

static int
clear(PyObject *object)
{
    HotTap *self = (HotTap *)object;
#define CLEAR(word) Py_CLEAR(self->word);
    HELD(CLEAR)
    return 0;
}

static void
dealloc(PyObject *object)
{
    PyTypeObject *kind = Py_TYPE(object);
    PyObject_GC_UnTrack(object);
    clear(object);
    kind->tp_free(object);
    Py_DECREF(kind);
}

#define MEMBER(word) {#word, T_OBJECT_EX, offsetof(HotTap, word), 0, NULL},
static PyMemberDef members[] = {
    HELD(MEMBER)
    {"place", T_LONGLONG, offsetof(HotTap, place), 0, NULL},
    {"last_op", T_LONGLONG, offsetof(HotTap, last_op), 0, NULL},
    {NULL},
};

static PyMethodDef methods[] = {
    {"__torch_function__", (PyCFunction)(void (*)(void))torch_function,
     METH_FASTCALL | METH_KEYWORDS, "Answer one call of a torch function, and write it down."},
    {"at", place_at, METH_O, "(stack, scope) of a running frame; None: Python must find it."},
    {NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Stands between the script and every torch function that its thread calls."},
    {Py_tp_members, members},
    {Py_tp_methods, methods},
    {Py_tp_traverse, traverse},
    {Py_tp_clear, clear},
    {Py_tp_dealloc, dealloc},
    {0, NULL},
};

PyType_Spec tap_spec = {
    .name = "gradpm.record._hot.HotTap",
    .basicsize = sizeof(HotTap),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};
