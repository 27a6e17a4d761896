"""What torch's name for an op says of it: a view, a write in place, a use, or none of these."""

from __future__ import annotations

from functools import lru_cache

from gradpm.diagnose.ops import OpRow
from gradpm.trace.schema import Op

VIEWS = frozenset(
    """view reshape detach data.__get__ T.__get__ mT.__get__ H.__get__ mH.__get__ real.__get__
    imag.__get__ transpose permute squeeze unsqueeze expand expand_as select narrow unbind split
    chunk __getitem__ flatten unflatten t diagonal swapaxes swapdims movedim view_as ravel
    tensor_split hsplit vsplit dsplit unfold real imag view_as_real view_as_complex squeeze_
    unsqueeze_ transpose_ t_ detach_ alias as_strided moveaxis adjoint split_with_sizes __iter__
    Variable contiguous reshape_as Parameter from_numpy numpy broadcast_to unsafe_split
    unsafe_chunk unsafe_split_with_sizes linalg_diagonal atleast_1d atleast_2d atleast_3d
    broadcast_tensors meshgrid conj resolve_conj resolve_neg positive values indices crow_indices
    col_indices ccol_indices row_indices coalesce _values _indices swapaxes_ swapdims_
    as_strided_""".split()
)
PAIRED = frozenset("atleast_1d atleast_2d atleast_3d broadcast_tensors meshgrid".split())
# the second tensor gives its shape, dtype or device, and no value
TEMPLATED = frozenset("to type_as view_as expand_as reshape_as".split())
NO_VALUE = frozenset(  # what comes out does not depend on the values that went in
    """grad.__get__ grad.__set__ _grad.__set__ register_hook retain_grad zeros_like ones_like
    empty_like rand_like randn_like randint_like full_like new_zeros new_ones new_empty new_full
    new_empty_strided""".split()
)
SWITCHES = frozenset("requires_grad_ requires_grad.__set__".split())
NO_USE = frozenset(("__deepcopy__", "Parameter"))


@lru_cache(maxsize=4096)
def is_mutating(name: str) -> bool:
    """Whether torch's name for an op says that it changes its first argument."""
    if name in ("__setitem__", "set_", "data.__set__"):
        return True
    if name.startswith("__i") and name.endswith("__"):
        return name not in ("__index__", "__int__", "__invert__", "__iter__")
    return name.endswith("_") and not name.endswith("__") and name not in SWITCHES


def views_of(op: OpRow) -> list[tuple[int, int]]:
    """(base, view) for each view that an op hands out; empty for one that makes none."""
    if op.name not in VIEWS or not op.ins or (op.name == "__getitem__" and len(op.ins) > 1):
        return []  # a tensor as index gathers: a copy
    paired = op.name in PAIRED and len(op.ins) == len(op.outs)
    bases = op.ins if paired else op.ins[:1] * len(op.outs)
    return [(base, out) for base, out in zip(bases, op.outs, strict=True) if out not in op.ins]


def target_of(op: OpRow) -> int:
    """The serial that an op changes in place; 0 when it changes none."""
    if is_mutating(op.name) and op.ins:
        return op.ins[0]
    if not op.outs or op.outs[0] not in op.ins or op.has(Op.FUNCTION):
        return 0
    return 0 if op.name in VIEWS or op.name in TEMPLATED else op.outs[0]


def is_use(op: OpRow, serial: int) -> bool:
    """Whether an op takes part in a forward, rather than initialise or update the parameter."""
    if op.has(Op.IN_STEP) or op.has(Op.IN_OPTIM) or op.has(Op.SETTER) or op.has(Op.UNSEEN):
        return False
    if op.name in NO_VALUE or op.name in SWITCHES or op.name in NO_USE:
        return False
    if op.name in TEMPLATED and op.ins[:1] != (serial,):
        return False
    return not (is_mutating(op.name) and op.ins[:1] == (serial,))
