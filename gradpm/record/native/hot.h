/* The op tap's hot path, compiled: what is shared by its files.
 *
 * torch calls `__torch_function__` for every op of the user's program. Here that call is
 * answered without a Python frame: nothing of gradpm's stands in a traceback, or between a
 * warning and the user's line. Only what is plain is written down here; all else goes to
 * the methods of `tap.OpTap`. `plain.py` does the same where this cannot be compiled, and
 * both write the same rows: a test compares them.
 *
 * Rows are written without a lock. The interpreter lets another thread in, or collects
 * garbage, only where Python code runs or a container is made: neither happens between the
 * number of a row and its last value.
 *
 * A function that can raise returns -1 (or NULL) with an exception set.
 */
#ifndef GRADPM_HOT_H
#define GRADPM_HOT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <frameobject.h>
#include <structmember.h>

#ifdef Py_GIL_DISABLED
#error "rows are written without a lock: without the GIL the tap in Python is used"
#endif
#ifdef PYPY_VERSION
#error "frames of another interpreter: the tap in Python is used"
#endif

#define MOST_TENSORS 64
#define MOST_MODULES (1 << 16) /* as in scopes.py */
#define SLOT(object, offset) (*(PyObject **)((char *)(object) + (offset)))

/* One row of the op table, as the schema has it, and one tensor that came out. */
typedef struct {
    uint64_t id;
    int64_t sequence;
    uint32_t name, frame, scope, flags, detail;
    uint16_t ins, outs;
} OpRow;

typedef struct {
    int64_t serial;
    uint32_t spec;
    uint8_t flags;
} OpOut;

typedef struct {
    PyObject_HEAD
    OpRow *rows;
    int64_t *ins;
    OpOut *outs;
    Py_ssize_t row_count, in_count, out_count, row_room, in_room, out_room;
} OpBuffer;

typedef struct {
    PyObject_HEAD
    PyObject *recorder, *plain, *plans, *passing, *known, *specs, *floating, *rows, *closures, *values;
    PyObject *own_codes, *lines, *scopes, *module_ids, *call_impl, *next_op;
    PyObject *next_serial;
    long long place, last_op;
} HotTap;

typedef struct { /* the tensors of one call */
    Py_ssize_t count;
    int64_t serials[MOST_TENSORS];
    PyObject *tensors[MOST_TENSORS]; /* held: see op_write */
    long like;                       /* the spec that they share; 0: they do not; -1: none yet */
} Inputs;

typedef struct { /* where a call comes from */
    PyObject *frame; /* the user's */
    PyObject *stack, *scope, *stand;
} Place;

typedef struct { /* version counters of the plain tensors that a call may change in place */
    Py_ssize_t count;
    PyObject *tensors[MOST_TENSORS]; /* borrowed from the arguments' own tuple and dict */
    long long versions[MOST_TENSORS];
} Versions;

typedef struct { /* what a leaf answers */
    long long flags, version, grad_version;
    PyObject *grad; /* a new reference, None for none */
    int kind;
    long long count; /* of the gradient's numbers, if it is dense and in one piece */
} Look;

enum { NO_GRAD = 0, DENSE_HERE = 1, DENSE_ELSEWHERE = 2, OTHER_GRAD = 3 }; /* as in known.py */

/* How a function is called that is in `plain`: what is to be asked before. */
enum { AS_IS = 0, IF_TRACKED = 1, IF_DIVIDED = 2, IF_RAISED = 3, TAMED = 3, MAY_MUTATE = 8 };

/* What `configure` was told (module.c): torch's types and questions, and the flags. */
extern PyTypeObject *Tensor, *Parameter, *ParameterList, *Token, *Lines, *Calls;
extern PyObject *grad_enabled, *inference_enabled, *sequence_number, *dispatch, *mode_depth;
extern PyObject *mode_pop, *mode_push;
extern PyObject *measured, *strided, *single;                  /* dtypes with norms; a layout; float32 */
extern PyObject *grad_of_any, *look_at_any, *state_of_odd, *is_whole_any; /* of known.py */
extern PyObject *numel_of, *contiguous_of, *storage_of, *nbytes_of;      /* torch's own methods, */
extern PyObject *element_size_of, *offset_in_storage, *address_of;       /* whatever hides them */
extern long long PASS, GRAD_ENABLED, INFERENCE, IN_REQUIRES, TRACKED, LEAF, NO_LEAF, LOOKED_AT;
extern long long IS_LEAF, REQUIRES, REACHED, FRESH, HELD, UNSURE; /* of rows about leaves */
extern long long BUFFER, NONE, FINITE;                         /* a kind of leaf; states */
extern Py_ssize_t lines_at, scope_at;                        /* slots of Token */
extern Py_ssize_t sites_at, tokens_at, inner_at, code_at, calls_at; /* of Lines */
extern Py_ssize_t ids_at, count_at, epoch_at;                  /* of Calls */

extern PyObject *op_tap;  /* what a fault in here is in */

/* Attribute names, interned once (module.c). */
#define NAMES(X) \
    X(requires_grad) X(is_leaf) X(shape) X(dtype) X(device) X(_version) X(f_trace) X(place) \
    X(otherwise) X(keep) X(refused) X(went_by) X(now_and_then) X(guard) X(out) \
    X(epoch) X(f_locals) X(self) X(grad) X(retains_grad) X(layout) X(is_nested) X(is_meta) X(is_cpu)
#define DECLARE(word) extern PyObject *str_##word;
NAMES(DECLARE)
#undef DECLARE

/* buffer.c */
extern PyType_Spec buffer_spec;
int buffer_append(OpBuffer *self, const OpRow *row, const int64_t *ins, const OpOut *outs);

/* place.c: 1: found; 0: not a place whose ops are plain; -1. */
int place_find(HotTap *self, Place *place);
PyObject *place_at(PyObject *self, PyObject *frame);
void place_forget(Place *place);

/* scope.c: the token of a module's call that is new, a new reference; NULL: see there */
PyObject *scope_token(HotTap *self, PyObject *frame, PyObject *outer, PyObject *lines);

/* ops.c: 1: done; 0: not so plain; -1. */
int is_alive(PyObject *reference, PyObject *object);
int op_write(HotTap *self, PyObject *plan, PyObject *args, PyObject *kwargs, PyObject *result,
             const Place *place);
int op_is_tame(long way, PyObject *args);

/* leaf.c */
int ask(PyObject *tensor, PyObject *name);
long long version_of(PyObject *tensor);
PyObject *leaf_grad(PyObject *tensor, long long *version);
int leaf_look(PyObject *tensor, Look *seen);

/* versions.c */
int versions_note(Versions *before, PyObject *args, PyObject *kwargs);
PyObject *versions_changed(const Versions *before);

/* norm.c */
int is_whole(PyObject *tensor, long long *count);
PyObject *norm_here(PyObject *grad, long long count);

/* leaves.c */
PyObject *leaves_type(void);
PyObject *leaves_begin(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *leaves_end(PyObject *module, PyObject *args);
PyObject *leaves_all_finite(PyObject *module, PyObject *args);

/* mode.c */
extern PyType_Spec mode_spec;

/* tap.c */
extern PyType_Spec tap_spec;

#endif
