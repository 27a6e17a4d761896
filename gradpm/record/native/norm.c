/* The 2-norm of a small gradient, read where it lies.
 *
 * torch's own reduction costs some 5 us each with cold caches, whatever the size: of a small
 * network's step that is a twentieth. A large gradient is torch's to measure, with all its
 * threads. The squares are added up in single precision, a block at a time, and in double
 * where they overflow or vanish.
 */
#include "hot.h"
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
norm(const float *at, Py_ssize_t count)
{
    double sum = 0.0;
    Py_ssize_t index = 0;
    for (; index + BLOCK <= count; index += BLOCK)
        sum += block(at + index);
    return sqrt(sum + exactly(at + index, count - index));
}

static long long
number(PyObject *tensor, PyObject *method)
{
    PyObject *answer = PyObject_CallMethodNoArgs(tensor, method);
    long long found = answer != NULL ? PyLong_AsLongLong(answer) : -1;
    Py_XDECREF(answer);
    return found;
}

/* The norm of a dense gradient on the host, or None: torch must be asked. */
PyObject *
norm_here(PyObject *grad)
{
    PyObject *dtype = PyObject_GetAttr(grad, str_dtype);
    Py_XDECREF(dtype); /* torch's dtypes live on */
    if (dtype == NULL)
        return NULL;
    long long count = dtype == single ? number(grad, str_numel) : 0;
    long long whole = 0 < count && count <= LARGEST ? number(grad, str_is_contiguous) : 0;
    long long address = whole == 1 ? number(grad, str_data_ptr) : 0;
    if (PyErr_Occurred())
        return NULL;
    if (address == 0)
        Py_RETURN_NONE;
    return PyFloat_FromDouble(norm((const float *)(uintptr_t)address, (Py_ssize_t)count));
}
