"""One leaf that is followed, and what is noted of all leaves around an engine call.

Its compiled twin, `native/leaves.c`, does the same wherever it could be built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from gradpm.record.late import is_host
from gradpm.record.quiet import EXACT, MEASURED, answers_itself, version_of
from gradpm.trace.schema import GradState, Leaf, LeafKind

# As plain numbers: to or two enums takes 2 us, and every leaf has several in each engine call.
NONE, FINITE, SPARSE, UNREAD = (
    int(GradState.NONE), int(GradState.FINITE), int(GradState.SPARSE), int(GradState.UNREAD),
)  # fmt: skip
REQUIRES, IS_LEAF, REACHED, FRESH, HELD, UNSURE = (
    int(Leaf.REQUIRES), int(Leaf.IS_LEAF), int(Leaf.REACHED), int(Leaf.FRESH), int(Leaf.HELD),
    int(Leaf.UNSURE),
)  # fmt: skip
BUFFER = int(LeafKind.BUFFER)
UNKNOWN = (0.0, 0, 0, -1.0)  # largest magnitude, NaNs, Infs, fraction of zeros
_BASE: Any = torch._C.TensorBase
NO_GRAD, DENSE_HERE, DENSE_ELSEWHERE, OTHER_GRAD = range(4)  # kinds of `.grad`


@dataclass(slots=True)
class Known:
    """One leaf that the recorder follows."""

    reference: Any
    serial: int
    kind: int
    owner: int  # number of the thread that works with it, SHARED for several
    flags: int  # that do not change from call to call
    grad_id: int = 0
    grad_version: int = -1
    held: int = 0  # Leaf.HELD or Leaf.UNSURE, as the engine started
    after_id: int = 0  # of the .grad that the last engine call left
    after_version: int = -1
    late: int = -1  # the call that left what the device has not told of yet
    is_zero: bool = False
    was_zero: bool = False  # at any time


Dense = tuple[Known, int, Any, int]
"""A leaf, its version counter, its dense gradient, the flags of its row."""


def alive(leaves: dict[int, Known], unsafe: set[int] | frozenset[int]) -> list[tuple[Known, Any]]:
    """The leaves that still live, less those of `unsafe` threads; the dead are forgotten."""
    found = []
    for serial, known in list(leaves.items()):
        tensor = known.reference()
        if tensor is None:
            leaves.pop(serial, None)
        elif known.kind != BUFFER and known.owner not in unsafe:
            found.append((known, tensor))
    return found


def begin(
    leaves: dict[int, Known], unsafe: set[int] | frozenset[int]
) -> tuple[list[tuple[Known, Any]], list[tuple[Known, Any]]]:
    """Note which gradient every leaf has as the engine starts.

    (those alive, each with its tensor; those whose gradient was changed since the last
    engine call, each with that gradient)
    """
    living = alive(leaves, unsafe)
    unsure: list[tuple[Known, Any]] = []
    for known, tensor in living:
        grad, version = grad_of(tensor)
        known.grad_id = id(grad) if grad is not None else 0
        known.grad_version = version
        known.held = 0
        if grad is None:
            continue
        if known.grad_id == known.after_id and version == known.after_version:
            known.held = UNSURE if known.late >= 0 else 0 if known.is_zero else HELD
        else:
            unsure.append((known, grad))
    return living, unsure


def end(
    living: list[tuple[Known, Any]],
    reached: set[int],
    full: bool,
    measures: bool,
    backward: int,
    rows: list[Any],
) -> tuple[list[Dense], list[float | None], list[Dense]]:
    """Note which gradient the engine has left, and write the rows of those that have no norm.

    (those to be looked at now, their norms as far as they are known, those that a device
    must be waited for). Without `measures` no value is read.
    """
    dense: list[Dense] = []
    late: list[Dense] = []
    for known, tensor in living:
        asked, version, grad, grad_version, kind = look(tensor)
        flags = known.flags | known.held | asked
        if known.serial in reached:
            flags |= REACHED
        known.late = -1
        version = max(version, 0)
        if kind == NO_GRAD:
            known.after_id, known.after_version, known.is_zero = 0, -1, False
            rows += (backward, known.serial, NONE, flags, version, 0.0, *UNKNOWN)
            continue
        known.after_id, known.after_version = id(grad), grad_version
        if known.after_id != known.grad_id or grad_version != known.grad_version:
            flags |= FRESH
        if kind == OTHER_GRAD:
            known.is_zero = False
            rows += (backward, known.serial, state_of_odd(grad), flags, version, 0.0, *UNKNOWN)
            continue
        kept = dense if full or kind == DENSE_HERE else late
        kept.append((known, version, grad, flags))
    return dense, [None] * len(dense), late


def all_finite(
    dense: list[Dense], norms: list[float | None], backward: int, rows: list[Any]
) -> bool:
    """Write the rows, if every gradient has a norm like any other; whether that is so."""
    inf = float("inf")
    if not all(norm is not None and 0.0 < norm < inf for norm in norms):
        return False
    for (known, version, _, flags), norm in zip(dense, norms, strict=True):
        known.is_zero = known.was_zero = False
        rows += (backward, known.serial, FINITE, flags, version, norm, *UNKNOWN)
    return True


def grad_of(tensor: Any) -> tuple[Any, int]:
    """(`.grad` or None, its version) of any tensor."""
    grad = tensor.grad if tensor.is_leaf or tensor.retains_grad else None
    return grad, version_of(grad)


def look(tensor: Any) -> tuple[int, int, Any, int, int]:
    """(flags, version, `.grad` or None, its version, its kind) of any tensor."""
    flags = (IS_LEAF if tensor.is_leaf else 0) | (REQUIRES if tensor.requires_grad else 0)
    grad, version = grad_of(tensor)
    kind = NO_GRAD if grad is None else OTHER_GRAD
    if grad is not None and is_plain(grad) and grad.layout is torch.strided and not grad.is_meta:
        kind = DENSE_HERE if is_host(grad) else DENSE_ELSEWHERE
    return flags, version_of(tensor), grad, version, kind


def is_plain(grad: Any) -> bool:
    """Whether norms can be taken without running a subclass's own code, and are there."""
    return type(grad) in EXACT and not grad.is_nested and grad.dtype in MEASURED and is_whole(grad)


def is_whole(tensor: Any) -> bool:
    """Whether a dense tensor's memory is there: some programs free it and keep the tensor.

    Asked of torch's own methods, whatever the program may have put before them.
    """
    if tensor.layout is not torch.strided or tensor.is_meta:
        return True
    try:
        if not _BASE.numel(tensor):
            return True
        steps = zip(tensor.shape, _BASE.stride(tensor), strict=True)
        last = _BASE.storage_offset(tensor) + sum((size - 1) * step for size, step in steps)
        held = torch.UntypedStorage.nbytes(_BASE.untyped_storage(tensor))
    except (RuntimeError, NotImplementedError):  # none at all: left behind by a transform, say
        return False
    return bool((last + 1) * _BASE.element_size(tensor) <= held)


def state_of_odd(grad: Any) -> int:
    """The state of a gradient that is not measured."""
    return SPARSE if not answers_itself(grad) and grad.is_sparse else UNREAD
