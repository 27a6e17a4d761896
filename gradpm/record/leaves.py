"""The leaves: every parameter, and what its `.grad` is after each engine call."""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from gradpm.record.quiet import MEASURED, answers_itself, is_seen, is_transformed, quiet
from gradpm.record.rows import Rows
from gradpm.trace.schema import GradState, Leaf, LeafKind, Table

if TYPE_CHECKING:
    from gradpm.record.recorder import Recorder


_set_grad_enabled = torch._C._set_grad_enabled
EXACT = (torch.Tensor, torch.nn.Parameter)
SHARED = -1
# As plain numbers: to or two enums takes 2 us, and every leaf has several in each engine call.
NONE, ZERO, FINITE = int(GradState.NONE), int(GradState.ZERO), int(GradState.FINITE)
ALIVE, REQUIRES, IS_LEAF, REACHED = (
    int(Leaf.ALIVE), int(Leaf.REQUIRES), int(Leaf.IS_LEAF), int(Leaf.REACHED),
)  # fmt: skip
FRESH, HELD, UNSURE, OPTIMIZED = (
    int(Leaf.FRESH), int(Leaf.HELD), int(Leaf.UNSURE), int(Leaf.OPTIMIZED),
)  # fmt: skip
UNKNOWN = (0.0, 0, 0, -1.0)


@dataclass(slots=True)
class Known:
    """One leaf that the recorder follows."""

    reference: Any
    serial: int
    kind: LeafKind
    owner: int  # number of the thread that works with it, SHARED for several
    flags: int = 0  # that do not change from call to call
    grad_id: int = 0
    grad_version: int = -1
    held: int = 0  # Leaf.HELD or Leaf.UNSURE, as the engine started
    after_id: int = 0  # of the .grad that the last engine call left
    after_version: int = -1
    is_zero: bool = False
    was_zero: bool = False  # at any time


class Leaves:
    """All leaves seen so far, and the rows about them."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.known: dict[int, Known] = {}
        self.rows = Rows(Table.LEAF)
        self.grads = Rows(Table.GRAD)
        self.newly_zero = False  # in the last engine call, for the first time for some leaf
        self._settled = 0
        self._written: list[Any] = []  # GRAD rows of the call that has just ended

    def add(self, tensor: Any, stack: int, kind: LeafKind, *, serial: int = 0) -> int:
        """Follow a leaf from now on; its serial."""
        identity = self.recorder.identity
        serial = serial or identity.find(tensor)
        if serial in self.known and self.known[serial].reference() is tensor:
            return serial
        if not serial:
            parameter = kind is LeafKind.PARAMETER
            serial = identity.new_parameter(tensor) if parameter else identity.new(tensor)
        lasting = int(Leaf.PARAMETER) if kind is LeafKind.PARAMETER else 0
        owner = self.recorder.tap().number
        self.known[serial] = Known(weakref.ref(tensor), serial, kind, owner, ALIVE | lasting)
        flags = lasting | (REQUIRES if tensor.requires_grad else 0)
        flags |= IS_LEAF if is_leaf(tensor) else 0
        spec = self.recorder.specs.of(tensor)
        self.rows.add(serial, kind, spec, stack, flags, self.recorder.ops_so_far())
        return serial

    def optimized(self, serial: int) -> None:
        """An optimizer has this leaf."""
        self.known[serial].flags |= OPTIMIZED

    def own(self, reached: set[int], number: int, unsafe: set[int]) -> None:
        """A thread's engine call reaches these leaves: they are its own from now on."""
        for serial in reached:
            known = self.known.get(serial)
            if known is not None:
                known.owner = SHARED if known.owner in unsafe else number

    def alive(self, unsafe: set[int]) -> list[tuple[Known, Any]]:
        """The leaves that still live, less those of `unsafe` threads; the dead are forgotten."""
        found = []
        for serial, known in list(self.known.items()):
            tensor = known.reference()
            if tensor is None:
                self.known.pop(serial, None)
            elif known.kind is not LeafKind.BUFFER and known.owner not in unsafe:
                found.append((known, tensor))
        return found

    def before(self, unsafe: set[int]) -> list[tuple[Known, Any]]:
        """Note which gradient every leaf has as the engine starts."""
        if is_transformed():
            return []  # torch.func fills no .grad, and values cannot be read under it
        living = self.alive(unsafe)
        unsure: list[tuple[Known, Any]] = []
        for known, tensor in living:
            grad = tensor.grad if tensor.is_leaf or tensor.retains_grad else None
            known.grad_id = id(grad) if grad is not None else 0
            known.grad_version = version_of(grad)
            known.held = 0
            if grad is None:
                continue
            if known.grad_id == known.after_id and known.grad_version == known.after_version:
                known.held = 0 if known.is_zero else HELD
            else:
                unsure.append((known, grad))
        if unsure:
            self._settle(unsure)
        return living

    def _settle(self, unsure: list[tuple[Known, Any]]) -> None:
        """Gradients that were changed since the last engine call: zeroed, or only scaled?"""
        self._settled += 1
        count = self._settled
        looked = count <= 16 or not count & (count - 1)  # ever more rarely: it costs a norm
        looked = looked and self.recorder.options.stats != "none"
        dense = [pair for pair in unsure if looked and _plain(pair[1]) and not pair[1].is_sparse]
        norms = norms_of([grad for _, grad in dense])
        for known, _ in unsure:
            known.held = UNSURE
        for (known, _), norm in zip(dense, norms, strict=True):
            if norm is not None:
                known.held = 0 if norm == 0.0 else HELD

    def after(
        self, living: list[tuple[Known, Any]], backward: int, reached: set[int], *, full: bool
    ) -> bool:
        """Write what the engine left in each leaf's `.grad`; whether any is a bad number."""
        dense: list[tuple[Known, Any, Any, int]] = []
        self.newly_zero = False
        self._written = []
        for known, tensor in living:
            leaf = tensor.is_leaf
            flags = known.flags | known.held | (IS_LEAF if leaf else 0)
            if tensor.requires_grad:
                flags |= REQUIRES
            if known.serial in reached:
                flags |= REACHED
            grad = tensor.grad if leaf or tensor.retains_grad else None
            if grad is None:
                known.after_id, known.after_version = 0, -1
                self._write(backward, known, tensor, NONE, flags)
                continue
            known.after_id, known.after_version = id(grad), version_of(grad)
            if known.after_id != known.grad_id or known.after_version != known.grad_version:
                flags |= FRESH
            if not _plain(grad) or grad.layout is not torch.strided or grad.is_meta:
                sparse = not answers_itself(grad) and grad.is_sparse
                state = GradState.SPARSE if sparse else GradState.UNREAD
                self._write(backward, known, tensor, int(state), flags)
                continue
            dense.append((known, tensor, grad, flags))
        bad = self._dense(backward, dense, full) if dense else False
        self.grads.extend(self._written)
        return bad

    def _dense(self, backward: int, dense: list[tuple[Known, Any, Any, int]], full: bool) -> bool:
        wanted = self.recorder.options.stats != "none"
        norms = norms_of([grad for _, _, grad, _ in dense]) if wanted else [None] * len(dense)
        bad = False
        for (known, tensor, grad, flags), norm in zip(dense, norms, strict=True):
            if not full and norm is not None and 0.0 < norm < math.inf:
                self._write(backward, known, tensor, FINITE, flags, norm)
                continue
            state = state_of(norm)
            bad |= state in (GradState.NAN, GradState.INF)
            stats = statistics(grad) if norm is not None else UNKNOWN
            if stats[1]:
                state = GradState.NAN
            elif stats[2]:
                state = GradState.INF
            elif norm is not None and (stats[0] if norm == 0.0 else not norm < math.inf):
                state = GradState.FINITE  # only the squares overflowed, or vanished
                with quiet():
                    norm = stats[0] * float(torch.linalg.vector_norm(grad / stats[0]))
            self._write(backward, known, tensor, int(state), flags, norm or 0.0, stats)
        return bad

    def _write(
        self,
        backward: int,
        known: Known,
        tensor: Any,
        state: int,
        flags: int,
        norm: float = 0.0,
        stats: tuple[float, int, int, float] = UNKNOWN,
    ) -> None:
        if state == ZERO:
            if not known.was_zero:
                self.newly_zero = True
            known.is_zero = known.was_zero = True
        else:
            known.is_zero = False
            if state == FINITE:
                known.was_zero = False
        version = version_of(tensor)
        version = version if version > 0 else 0
        self._written += (backward, known.serial, state, flags, version, norm, *stats)


def is_leaf(tensor: Any) -> bool:
    """Whether a tensor is a leaf; False for a view so broken that torch will not say."""
    try:
        return bool(tensor.is_leaf)
    except RuntimeError:  # made under no_grad, and its base changed in place since
        return False


def version_of(tensor: Any) -> int:
    """The version counter; -1 for None and for inference tensors, which have none."""
    if tensor is None:
        return -1
    try:
        if type(tensor) in EXACT:
            return int(tensor._version)
        with torch._C.DisableTorchFunction():  # a subclass's own code would be asked
            return int(tensor._version)
    except RuntimeError:
        return -1


def _plain(grad: Any) -> bool:
    """Whether norms can be taken without running a subclass's own code."""
    return type(grad) in EXACT and not grad.is_nested and grad.dtype in MEASURED


def state_of(norm: float | None) -> GradState:
    """What a norm alone says of a gradient."""
    if norm is None:
        return GradState.UNREAD
    if norm != norm:
        return GradState.NAN
    if norm == float("inf"):
        return GradState.INF
    return GradState.ZERO if norm == 0.0 else GradState.FINITE


def norms_of(grads: list[Any]) -> list[float | None]:
    """2-norms of dense gradients with one fused call and one copy per device and dtype.

    Torch functions are off already. Grad mode is set by hand: `no_grad` costs twice as much.
    """
    if is_seen():
        with quiet():
            return _norms_of(grads)
    was_enabled = torch.is_grad_enabled()
    _set_grad_enabled(False)
    try:
        return _norms_of(grads)
    finally:
        _set_grad_enabled(was_enabled)


def _norms_of(grads: list[Any]) -> list[float | None]:
    found: list[float | None] = [None] * len(grads)
    groups: dict[Any, list[int]] = {}
    for index, grad in enumerate(grads):
        groups.setdefault((grad.device, grad.dtype), []).append(index)
    for indices in groups.values():
        try:
            norms = torch._foreach_norm([grads[index] for index in indices])
            values = torch.stack(list(norms)).tolist()
        except RuntimeError:
            continue
        for index, value in zip(indices, values, strict=True):
            found[index] = value
    return found


def statistics(grad: Any) -> tuple[float, int, int, float]:
    """(largest magnitude, NaNs, Infs, fraction of zeros) of a dense tensor."""
    with quiet():
        if not grad.numel():
            return 0.0, 0, 0, 0.0
        magnitude = grad.abs()
        nan = int(torch.isnan(magnitude).sum())
        inf = int(torch.isinf(magnitude).sum())
        zero = float((magnitude == 0).sum()) / grad.numel()
        finite = magnitude if not nan and not inf else magnitude[torch.isfinite(magnitude)]
        largest = float(finite.max()) if finite.numel() else 0.0
    return largest, nan, inf, zero
