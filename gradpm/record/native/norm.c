/* The 2-norm of a small gradient, read where it lies.
 *
 * torch's own reduction costs some 5 us each with cold caches, whatever the size: of a small
 * network's step that is a twentieth. A large gradient is torch's to measure, with all its
 * threads. The squares are added up in single precision, a block at a time, and in double
 * where they overflow or vanish.
 */
#include "hot.h"
#include <float.h>
#include <math.h>

#define LARGEST (1 << 15)
#define LANES 8
#define BLOCK 512 /* a multiple of LANES */

static double
exactly(const float *at, Py_ssize_t count)
{
    double sum = 0.0;
    for (Py_ssize_t index = 0; index < count; index++)
        sum += (double)at[index] * at[index];
    return sum;
}

static double
block(const float *at)
{
    float sums[LANES] = {0.0f};
    for (int index = 0; index < BLOCK; index += LANES)
        for (int lane = 0; lane < LANES; lane++)
            sums[lane] += at[index + lane] * at[index + lane];
    double sum = 0.0;
    for (int lane = 0; lane < LANES; lane++)
        sum += sums[lane];
    return sum > 1e-30 && sum < 1e30 ? sum : exactly(at, BLOCK);
}

static double
sum_of_squares(const float *at, Py_ssize_t count)
{
    double sum = 0.0;
    Py_ssize_t index = 0;
    for (; index + BLOCK <= count; index += BLOCK)
        sum += block(at + index);
    return sum + exactly(at + index, count - index);
}

/* What torch answers to a question about a tensor; -1, with an exception, if it does not. */
static long long
number(PyObject *question, PyObject *tensor)
{
    PyObject *answer = PyObject_CallOneArg(question, tensor);
    long long found = answer != NULL ? PyLong_AsLongLong(answer) : -1;
    Py_XDECREF(answer);
    return found;
}

/* How many numbers a tensor has, if they lie in one piece in the memory that it holds; 0: not so. */
static long long
count_in_one_piece(PyObject *tensor)
{
    long long whole = number(contiguous_of, tensor);
    long long count = whole == 1 ? number(numel_of, tensor) : 0;
    if (count < 1)
        return count;
    PyObject *storage = PyObject_CallOneArg(storage_of, tensor);
    long long held = storage != NULL ? number(nbytes_of, storage) : -1;
    Py_XDECREF(storage);
    long long size = held < 0 ? -1 : number(element_size_of, tensor);
    long long offset = size < 0 ? -1 : number(offset_in_storage, tensor);
    if (offset < 0)
        return -1;
    return (offset + count) * size <= held ? count : 0;
}

/* Whether the memory of a tensor is there: some programs free it and keep the tensor. */
int
is_whole(PyObject *tensor, long long *count)
{
    *count = count_in_one_piece(tensor);
    if (*count > 0)
        return 1;
    if (*count < 0) { /* it has no memory at all: left behind by a transform, say */
        if (!PyErr_ExceptionMatches(PyExc_Exception))
            return -1;
        PyErr_Clear();
    }
    PyObject *answer = PyObject_CallOneArg(is_whole_any, tensor);
    Py_XDECREF(answer);
    return answer == NULL ? -1 : answer == Py_True;
}

/* The norm of a dense gradient of so many numbers in one piece, or None: torch must be asked. */
PyObject *
norm_here(PyObject *grad, long long count)
{
    PyObject *dtype = PyObject_GetAttr(grad, str_dtype);
    Py_XDECREF(dtype); /* torch's dtypes live on */
    if (dtype == NULL)
        return NULL;
    long long address = 0;
    if (dtype == single && 0 < count && count <= LARGEST)
        address = number(address_of, grad);
    if (PyErr_Occurred())
        return NULL;
    if (address == 0)
        Py_RETURN_NONE;
    double squares = sum_of_squares((const float *)(uintptr_t)address, (Py_ssize_t)count);
    /* Where its own squares overflow or vanish, torch is asked, and more is looked at then. */
    if (squares > FLT_MAX || (squares > 0.0 && squares < FLT_MIN))
        Py_RETURN_NONE;
    return PyFloat_FromDouble((float)sqrt(squares)); /* as torch's: half the bits, half the room */
}
