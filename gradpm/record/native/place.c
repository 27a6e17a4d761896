/* Where a call comes from: the stack and the module call of a frame. See `stacks.py`. */
#include "hot.h"

#define DEEPEST 512
#define MOVING (0x20 | 0x80 | 0x100 | 0x200) /* resumed by other callers: see `stacks.MOVING` */

static PyObject *
offset_of(PyObject *frame)
{
#if PY_VERSION_HEX >= 0x030B0000
    return PyLong_FromLong(PyFrame_GetLasti((PyFrameObject *)frame));
#else
    return PyObject_GetAttrString(frame, "f_lasti");
#endif
}

/* What hangs on a frame, borrowed; Py_None: nothing of ours. */
static PyObject *
token_of(PyObject *frame)
{
    PyObject *token = PyObject_GetAttr(frame, str_f_trace);
    if (token == NULL)
        return NULL;
    Py_DECREF(token); /* the frame holds it */
    return Py_TYPE(token) == Token ? token : Py_None;
}

/* Whether somebody else has hung something on a frame. */
static int
has_tracer(PyObject *frame)
{
    PyObject *found = PyObject_GetAttr(frame, str_f_trace);
    Py_XDECREF(found);
    return found != Py_None;
}

/* Fill in a place from a token and the line at which its frame stands. */
static int
at_line(PyObject *token, PyObject *frame, Place *place)
{
    PyObject *offset = offset_of(frame);
    if (offset == NULL)
        return -1;
    PyObject *site = PyDict_GetItemWithError(SLOT(SLOT(token, lines_at), sites_at), offset);
    Py_DECREF(offset);
    if (site == NULL)
        return PyErr_Occurred() ? -1 : 0;
    place->stack = Py_NewRef(PyTuple_GET_ITEM(site, 0));
    place->stand = Py_NewRef(PyTuple_GET_ITEM(site, 1));
    place->scope = Py_NewRef(SLOT(token, scope_at));
    return 1;
}

static int
is_own(HotTap *self, PyObject *code)
{
    PyObject *id = PyLong_FromVoidPtr(code);
    int own = id == NULL ? -1 : PySet_Contains(self->own_codes, id);
    Py_XDECREF(id);
    return own;
}

/* The lines of a frame's code under its caller's line, borrowed; NULL: they are new.
 *
 * `inner` remembers which code was called last from each offset: mostly that is the one.
 */
static PyObject *
lines_under(HotTap *self, PyObject *caller_lines, PyObject *offset, PyObject *code)
{
    PyObject *inner = SLOT(caller_lines, inner_at);
    PyObject *lines = PyDict_GetItemWithError(inner, offset);
    if (lines != NULL && SLOT(lines, code_at) == code)
        return lines;
    PyObject *parent = PyDict_GetItemWithError(caller_lines, offset);
    PyObject *id = parent != NULL ? PyLong_FromVoidPtr(code) : NULL;
    PyObject *key = id != NULL ? PyTuple_Pack(2, parent, id) : NULL;
    lines = key != NULL ? PyDict_GetItemWithError(self->lines, key) : NULL;
    if (lines != NULL && PyDict_SetItem(inner, offset, lines) < 0)
        lines = NULL;
    Py_XDECREF(id);
    Py_XDECREF(key);
    return lines;
}

/* The token of a frame under these lines, in a new scope if it is a module's call.
 *
 * A new reference; NULL, without an exception, where it is new.
 */
static PyObject *
token_under(HotTap *self, PyObject *lines, PyObject *scope, PyObject *frame)
{
    if (SLOT(lines, code_at) == self->call_impl)
        return scope_token(self, frame, scope, lines);
    return Py_XNewRef(PyDict_GetItemWithError(SLOT(lines, tokens_at), scope));
}

/* Hang a token on a frame, if its caller's and its lines are known; it, borrowed.
 *
 * `caller_token` itself where the frame is gradpm's own; Py_None: this needs Python.
 */
static PyObject *
hang(HotTap *self, PyObject *caller_token, PyObject *caller, PyObject *frame)
{
    PyObject *code = (PyObject *)PyFrame_GetCode((PyFrameObject *)frame), *token = NULL;
    PyObject *offset = offset_of(caller), *lines = NULL;
    if (offset != NULL)
        lines = lines_under(self, SLOT(caller_token, lines_at), offset, code);
    if (lines != NULL) {
        if (((PyCodeObject *)code)->co_flags & MOVING || has_tracer(frame))
            token = Py_NewRef(Py_None);
        else if ((token = token_under(self, lines, SLOT(caller_token, scope_at), frame)) == NULL)
            token = PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
        else if (PyObject_SetAttr(frame, str_f_trace, token) < 0)
            Py_CLEAR(token);
    }
    else if (!PyErr_Occurred()) {
        int own = is_own(self, code);
        token = own < 0 ? NULL : Py_NewRef(own ? caller_token : Py_None);
    }
    Py_DECREF(code);
    Py_XDECREF(offset);
    Py_XDECREF(token); /* a frame holds it */
    return token;
}

/* Give tokens to a frame and to its callers, from the first that has one. 1: done. */
static int
walk(HotTap *self, PyObject *frame)
{
    PyObject *fresh[DEEPEST], *at = Py_NewRef(frame), *token = NULL;
    int count = 0;
    while (at != NULL && count < DEEPEST && (token = token_of(at)) == Py_None) {
        fresh[count++] = at;
        at = (PyObject *)PyFrame_GetBack((PyFrameObject *)at);
    }
    if (at == NULL) /* a thread's first frames */
        token = PyErr_Occurred() ? NULL : Py_None;
    while (count > 0) {
        PyObject *child = fresh[--count], *caller = at;
        if (token != NULL && token != Py_None) {
            PyObject *made = hang(self, token, caller, child);
            if (made == token) { /* gradpm's own: its caller is the next one's */
                Py_DECREF(child);
                continue;
            }
            token = made;
        }
        Py_XDECREF(caller);
        at = child;
    }
    Py_XDECREF(at);
    return token == NULL ? -1 : token != Py_None;
}

/* The place of any frame, as Python finds it. */
static int
anew(HotTap *self, PyObject *frame, Place *place)
{
    PyObject *all[] = {self->recorder, frame};
    PyObject *found = PyObject_VectorcallMethod(str_place, all, 2, NULL);
    if (found == NULL)
        return -1;
    int plain = PyTuple_GET_ITEM(found, 2) != Py_None;
    if (plain) {
        place->stack = Py_NewRef(PyTuple_GET_ITEM(found, 0));
        place->scope = Py_NewRef(PyTuple_GET_ITEM(found, 1));
        place->stand = Py_NewRef(PyTuple_GET_ITEM(found, 2));
    }
    Py_DECREF(found);
    return plain;
}

/* Find the stack and the scope of `place->frame`. */
int
place_find(HotTap *self, Place *place)
{
    PyObject *token = token_of(place->frame);
    int done = token == NULL ? -1 : 0;
    if (done == 0 && token == Py_None) {
        done = walk(self, place->frame);
        token = done == 1 ? token_of(place->frame) : Py_None;
        done = token == NULL || done < 0 ? -1 : 0;
    }
    if (done == 0 && token != Py_None)
        done = at_line(token, place->frame, place);
    return done != 0 ? done : anew(self, place->frame, place);
}

/* `at(frame)`: the (stack, scope) of the first frame from here that is not gradpm's. */
PyObject *
place_at(PyObject *object, PyObject *frame)
{
    HotTap *self = (HotTap *)object;
    PyObject *at = Py_NewRef(frame), *found = Py_None;
    int own = self->recorder != NULL && PyFrame_Check(frame) &&
              PyThreadState_Get()->c_tracefunc == NULL;
    if (!own)
        own = -1; /* not from here */
    while (own == 1 && at != NULL) {
        PyObject *code = (PyObject *)PyFrame_GetCode((PyFrameObject *)at);
        own = is_own(self, code);
        Py_DECREF(code);
        if (own == 1)
            Py_SETREF(at, (PyObject *)PyFrame_GetBack((PyFrameObject *)at));
    }
    PyObject *token = own == 0 && at != NULL ? token_of(at) : Py_None;
    if (token == Py_None && own == 0 && at != NULL && walk(self, at) == 1)
        token = token_of(at);
    if (token != NULL && token != Py_None) {
        PyObject *offset = offset_of(at);
        PyObject *stack = NULL;
        if (offset != NULL)
            stack = PyDict_GetItemWithError(SLOT(token, lines_at), offset);
        Py_XDECREF(offset);
        if (stack != NULL)
            found = Py_BuildValue("(NN)", Py_NewRef(stack), Py_NewRef(SLOT(token, scope_at)));
    }
    Py_XDECREF(at);
    return PyErr_Occurred() ? NULL : found == Py_None ? Py_NewRef(found) : found;
}

void
place_forget(Place *place)
{
    Py_XDECREF(place->frame);
    Py_XDECREF(place->stack);
    Py_XDECREF(place->scope);
    Py_XDECREF(place->stand);
}
