"""What to do with each torch function: decided once per function, then looked up."""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class Plan(IntEnum):
    """How the tap treats a function."""

    PASS = 0  # says nothing about values: call it and leave no row
    OP = 1
    MUTATES = 2  # changes its first argument in place
    MAY_MUTATE = 3  # Python code, or a known composite: compare version counters
    SETTER = 4  # an attribute is set
    READS_GRAD = 5
    SWITCH = 6  # grad mode
    ITERATES = 7  # hands out an iterator over tensors
    LEAVES = 8  # the value may leave torch: item, tolist, numpy, __array__
    FACTORY = 9  # makes a tensor from Python or numpy data
    COPIES = 10  # deepcopy: the copy is bound to the original
    SINGULAR = 11  # may give a number, or a derivative, that is not finite
    HOOK = 12  # a hook is registered: where it is written
    KEEPS = 13  # an op whose result is like its operands, if these are alike: see KEEPING


Decision = tuple[Any, ...]
"""What was decided of a function: its plan, the id of its name, its name; of those that the
tap has met, also its `Way`, -1 for none."""


class Way(IntEnum):
    """What is asked before a call on the hot path; the flags of `native/hot.h`."""

    AS_IS = 0
    IF_TRACKED = 1  # it is plain if its first operand requires grad
    IF_DIVIDED = 2  # ... if its second operand is a number, but not 0
    IF_RAISED = 3  # ... if its second operand is a number of at least 1
    MAY_MUTATE = 8  # version counters are compared


QUIET = frozenset(
    """size dim ndimension stride numel nelement storage_offset is_contiguous is_floating_point
    is_complex is_same_size element_size data_ptr get_device untyped_storage storage _is_view
    __len__ __hash__ __repr__ __format__ __dir__ has_names is_inference is_signed is_tensor
    is_storage is_nonzero_ is_set_to is_pinned is_shared type_as_ names align_as_ refine_names
    retain_grad register_post_accumulate_grad_hook __reduce_ex__ __reduce__
    __setstate__ _typed_storage is_neg is_conj is_coalesced sparse_dim dense_dim _nnz
    is_distributed is_sparse is_quantized result_type can_cast promote_types get_default_dtype
    broadcast_shapes is_grad_enabled is_inference_mode_enabled is_autocast_enabled manual_seed
    seed get_rng_state set_rng_state storage_type share_memory_ __cuda_array_interface__
    module_load obj_to_str _dimI _dimV _has_compatible_shallow_copy_type _parse_to _use_count
    _record_function_enter_new _record_function_exit._RecordFunction""".split()
)
LEAVING = frozenset(
    """item tolist numpy __array__ __float__ __int__ __bool__ __index__ __complex__ __dlpack__
    __contains__ equal allclose is_nonzero""".split()
)
FACTORIES = frozenset("tensor as_tensor asarray scalar_tensor full from_numpy full_like".split())
MUTATING = frozenset(
    """__setitem__ __iadd__ __isub__ __imul__ __itruediv__ __ifloordiv__ __imod__ __ipow__
    __iand__ __ior__ __ixor__ __ilshift__ __irshift__ __imatmul__ set_ resize_""".split()
)
# Not here, since their gradients are finite whatever folklore says: norm, std, cdist, atan2, abs.
SINGULAR = frozenset(
    """sqrt rsqrt pow __pow__ __rpow__ float_power div true_divide divide __truediv__ __rtruediv__
    __div__ __rdiv__ reciprocal log log2 log10 log1p acos arccos asin arcsin acosh arccosh atanh
    arctanh logit erfinv hypot xlogy xlog1py digamma lgamma polygamma mvlgamma eigh eig svd
    linalg_eigh linalg_eig linalg_svd linalg_eigvalsh linalg_svdvals logsumexp logaddexp softmax
    _softmax log_softmax std var std_mean mean exp tan entr exp_ inverse linalg_inv
    linalg_pinv special_xlogy special_entr""".split()
)
MAY_MUTATE = frozenset("batch_norm instance_norm embedding embedding_bag".split())
# With operands of one shape, floating type and device, and plain numbers beside them, the result
# has these as well: it need not be asked. Not what autocast runs in another type (exp, log, pow).
KEEPING = frozenset(
    """add __add__ sub subtract __sub__ __rsub__ rsub mul multiply __mul__ neg
    negative abs relu tanh sigmoid sin cos erf floor ceil round trunc sign clamp clip maximum
    minimum lerp clone contiguous detach hardtanh silu gelu""".split()
)
# Singular ops of which only the value is asked: what they save tells the rest.
VALUE_ONLY = frozenset("mean exp softmax log_softmax std var std_mean tan inverse".split())
DIVIDING = frozenset("div true_divide divide __truediv__ __div__".split())
POWERS = frozenset(["pow", "__pow__", "float_power"])
SILENT_GETTERS = frozenset({"data", "T", "mT", "H", "mH", "real", "imag"})


def plan_of(function: Any) -> tuple[Plan, str]:
    """The plan for a function and the name its rows carry."""
    name = getattr(function, "__name__", None) or type(function).__name__
    owner: Any = getattr(function, "__self__", None)
    if name in ("__get__", "__set__", "__delete__") and hasattr(owner, "__name__"):
        return _plan_of_attribute(name, str(owner.__name__))
    return _plan_of_call(function, name), name


def _plan_of_attribute(access: str, attribute: str) -> tuple[Plan, str]:
    label = f"{attribute}.{access}"
    if access != "__get__":
        return Plan.SETTER, label
    if attribute in ("grad", "_grad"):
        return Plan.READS_GRAD, label
    return (Plan.OP if attribute in SILENT_GETTERS else Plan.PASS), label


def _plan_of_call(function: Any, name: str) -> Plan:
    if name in QUIET:
        return Plan.PASS
    if name in ("_set_grad_enabled", "set_grad_enabled"):
        return Plan.SWITCH
    if name == "__iter__":
        return Plan.ITERATES
    if name in ("backward", "grad") and "torch" in str(getattr(function, "__module__", "")):
        return Plan.PASS  # the engine tap sees it
    if name == "__deepcopy__":
        return Plan.COPIES
    if name == "register_hook":
        return Plan.HOOK
    if name in LEAVING:
        return Plan.LEAVES
    if name in FACTORIES:
        return Plan.FACTORY
    if name == "requires_grad_":
        return Plan.SETTER
    if name in MUTATING or (name.endswith("_") and not name.endswith("__")):
        return Plan.MUTATES
    if name in SINGULAR:
        return Plan.SINGULAR
    if name in MAY_MUTATE or hasattr(function, "__code__") or not hasattr(function, "__name__"):
        return Plan.MAY_MUTATE
    return Plan.KEEPS if name in KEEPING else Plan.OP


def way_of(how: int, name: str) -> Way | None:
    """How a function with this plan is called on the hot path; None: it never is."""
    if how in (Plan.OP, Plan.KEEPS, Plan.READS_GRAD):
        return Way.AS_IS
    if how == Plan.MAY_MUTATE:
        return Way.MAY_MUTATE
    return tame_if(name) if how == Plan.SINGULAR else None


def tame_if(name: str) -> Way | None:
    """When a call of a singular op cannot go wrong: x / 2, x ** 2; None: it always can."""
    if name in VALUE_ONLY:
        return Way.IF_TRACKED
    if name in DIVIDING:
        return Way.IF_DIVIDED
    return Way.IF_RAISED if name in POWERS else None


def is_lasting(function: Any) -> bool:
    """Whether a function may be remembered: not one made anew, which would be kept alive."""
    if "<locals>" in getattr(function, "__qualname__", ""):
        return str(getattr(function, "__module__", "")).partition(".")[0] == "torch"
    return getattr(function, "__self__", None) is None or not hasattr(function, "__func__")
