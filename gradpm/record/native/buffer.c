/* Op rows on their way to the file: three flat arrays, turned into columns at the flush. */
#include "hot.h"

#define FIRST_ROOM 1024

/* Room for `more` items of `size` bytes behind the first `count`. */
static int
grow(void **items, Py_ssize_t *room, Py_ssize_t count, Py_ssize_t more, size_t size)
{
    if (count + more <= *room)
        return 0;
    Py_ssize_t wanted = *room ? *room * 2 : FIRST_ROOM;
    while (wanted < count + more)
        wanted *= 2;
    void *moved = PyMem_Realloc(*items, wanted * size);
    if (moved == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    *items = moved;
    *room = wanted;
    return 0;
}

/* One row, with as many ins and outs as it says: all of it or, when memory ends, nothing. */
int
buffer_append(OpBuffer *self, const OpRow *row, const int64_t *ins, const OpOut *outs)
{
    if (grow((void **)&self->rows, &self->row_room, self->row_count, 1, sizeof(OpRow)) < 0 ||
        grow((void **)&self->ins, &self->in_room, self->in_count, row->ins, sizeof(int64_t)) < 0 ||
        grow((void **)&self->outs, &self->out_room, self->out_count, row->outs, sizeof(OpOut)) < 0)
        return -1;
    self->rows[self->row_count++] = *row;
    for (int at = 0; at < row->ins; at++)
        self->ins[self->in_count++] = ins[at];
    for (int at = 0; at < row->outs; at++)
        self->outs[self->out_count++] = outs[at];
    return 0;
}

/* Item `at` of a tuple as a number of at most `most`; -1 with an exception set. */
static long long
item(PyObject *sequence, Py_ssize_t at, long long most)
{
    long long value = PyLong_AsLongLong(PySequence_Fast_GET_ITEM(sequence, at));
    if ((value < 0 || value > most) && !PyErr_Occurred())
        PyErr_Format(PyExc_OverflowError, "%lld does not fit into its column", value);
    return PyErr_Occurred() ? -1 : value;
}

static int
row_of(PyObject *values, OpRow *row)
{
    row->id = item(values, 0, INT64_MAX);
    row->name = (uint32_t)item(values, 1, UINT32_MAX);
    row->frame = (uint32_t)item(values, 2, UINT32_MAX);
    row->scope = (uint32_t)item(values, 3, UINT32_MAX);
    row->flags = (uint32_t)item(values, 4, UINT32_MAX);
    row->sequence = PyLong_AsLongLong(PySequence_Fast_GET_ITEM(values, 5));
    row->detail = (uint32_t)item(values, 6, UINT32_MAX);
    row->ins = (uint16_t)item(values, 7, UINT16_MAX);
    row->outs = (uint16_t)item(values, 8, UINT16_MAX);
    return PyErr_Occurred() ? -1 : 0;
}

/* `op(values, ins, outs)`: one row from Python. */
static PyObject *
buffer_op(PyObject *object, PyObject *args)
{
    OpBuffer *self = (OpBuffer *)object;
    PyObject *given[3], *parts[3] = {NULL, NULL, NULL};
    OpRow row;
    int64_t *ins = NULL;
    OpOut *outs = NULL;
    int done = -1;
    if (!PyArg_ParseTuple(args, "OOO", &given[0], &given[1], &given[2]))
        return NULL;
    for (int at = 0; at < 3; at++)
        if ((parts[at] = PySequence_Fast(given[at], "a row is three sequences")) == NULL)
            goto end;
    if (PySequence_Fast_GET_SIZE(parts[0]) != 9 || row_of(parts[0], &row) < 0)
        goto end;
    if (PySequence_Fast_GET_SIZE(parts[1]) != row.ins ||
        PySequence_Fast_GET_SIZE(parts[2]) != 3 * row.outs) {
        PyErr_SetString(PyExc_ValueError, "a row has other tensors than it says");
        goto end;
    }
    ins = PyMem_New(int64_t, row.ins + 1);
    outs = PyMem_New(OpOut, row.outs + 1);
    if (ins == NULL || outs == NULL) {
        PyErr_NoMemory();
        goto end;
    }
    for (int at = 0; at < row.ins; at++)
        ins[at] = PyLong_AsLongLong(PySequence_Fast_GET_ITEM(parts[1], at));
    for (int at = 0; at < row.outs; at++) {
        outs[at].serial = PyLong_AsLongLong(PySequence_Fast_GET_ITEM(parts[2], 3 * at));
        outs[at].spec = (uint32_t)item(parts[2], 3 * at + 1, UINT32_MAX);
        outs[at].flags = (uint8_t)item(parts[2], 3 * at + 2, UINT8_MAX);
    }
    if (!PyErr_Occurred())
        done = buffer_append(self, &row, ins, outs);
end:
    PyMem_Free(ins);
    PyMem_Free(outs);
    for (int at = 0; at < 3; at++)
        Py_XDECREF(parts[at]);
    if (done < 0 && !PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "an op row has nine values");
    return done < 0 ? NULL : Py_NewRef(Py_None);
}

/* A field of each of `count` structs as bytes, the machine's own order. */
static PyObject *
column(const void *items, Py_ssize_t count, size_t stride, size_t at, size_t width)
{
    PyObject *made = PyBytes_FromStringAndSize(NULL, count * width);
    if (made == NULL)
        return NULL;
    char *to = PyBytes_AS_STRING(made);
    const char *from = (const char *)items + at;
    for (Py_ssize_t row = 0; row < count; row++, to += width, from += stride)
        memcpy(to, from, width);
    return made;
}

#define FIELD(name) \
    column(self->rows, self->row_count, sizeof(OpRow), offsetof(OpRow, name), \
           sizeof(((OpRow *)0)->name))
#define OUT_FIELD(name) \
    column(self->outs, self->out_count, sizeof(OpOut), offsetof(OpOut, name), \
           sizeof(((OpOut *)0)->name))

static PyObject *
columns(const OpBuffer *self)
{
    return Py_BuildValue(
        "(NNNNNNNNNNNNN)", FIELD(id), FIELD(name), FIELD(frame), FIELD(scope), FIELD(flags),
        FIELD(sequence), FIELD(detail), FIELD(ins),
        column(self->ins, self->in_count, sizeof(int64_t), 0, sizeof(int64_t)), FIELD(outs),
        OUT_FIELD(serial), OUT_FIELD(spec), OUT_FIELD(flags));
}

static void
release(OpBuffer *self)
{
    PyMem_Free(self->rows);
    PyMem_Free(self->ins);
    PyMem_Free(self->outs);
}

/* `drain()`: (how many rows, bytes for each column), and no rows are left.
 *
 * The arrays are set aside first: to make the tuple may let other threads write.
 */
static PyObject *
buffer_drain(PyObject *object, PyObject *unused)
{
    OpBuffer *self = (OpBuffer *)object, taken = *self;
    self->rows = NULL;
    self->ins = NULL;
    self->outs = NULL;
    self->row_count = self->in_count = self->out_count = 0;
    self->row_room = self->in_room = self->out_room = 0;
    PyObject *found = Py_BuildValue("(nN)", taken.row_count, columns(&taken));
    release(&taken);
    return found;
}

/* `columns()`: the same bytes, and the rows stay. */
static PyObject *
buffer_columns(PyObject *object, PyObject *unused)
{
    return columns((OpBuffer *)object);
}

static Py_ssize_t
buffer_length(PyObject *object)
{
    return ((OpBuffer *)object)->row_count;
}

static void
buffer_dealloc(PyObject *object)
{
    PyTypeObject *kind = Py_TYPE(object);
    release((OpBuffer *)object);
    kind->tp_free(object);
    Py_DECREF(kind);
}

static PyMethodDef methods[] = {
    {"op", buffer_op, METH_VARARGS, "op(values, ins, outs): add one row."},
    {"drain", buffer_drain, METH_NOARGS, "(rows, bytes for each column), and none is left."},
    {"columns", buffer_columns, METH_NOARGS, "Bytes for each column of the rows so far."},
    {NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "Rows of the op table, waiting for the next flush."},
    {Py_tp_methods, methods},
    {Py_tp_dealloc, buffer_dealloc},
    {Py_sq_length, buffer_length},
    {0, NULL},
};

PyType_Spec buffer_spec = {
    .name = "gradpm.record._hot.OpBuffer",
    .basicsize = sizeof(OpBuffer),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = slots,
};
