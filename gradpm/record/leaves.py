"""The leaves: every parameter, and what its `.grad` is after each engine call."""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from gradpm.record.hot import grad_of, look
from gradpm.record.late import LateNorms, is_capturing, is_host
from gradpm.record.measure import norms_of, state_of, statistics
from gradpm.record.quiet import (
    EXACT,
    MEASURED,
    answers_itself,
    is_leaf,
    is_transformed,
    quiet,
    version_of,
)
from gradpm.record.rows import Rows
from gradpm.trace.schema import GradState, Leaf, LeafKind, Table

if TYPE_CHECKING:
    from gradpm.record.recorder import Recorder


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
NO_GRAD, DENSE_HERE, DENSE_ELSEWHERE, OTHER_GRAD = range(4)  # kinds, see `native/leaf.c`


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
    late: int = -1  # the call that left what the device has not told of yet


Dense = tuple[Known, Any, Any, int]
"""A leaf, its tensor, its dense gradient, the flags of its row."""


class Leaves:
    """All leaves seen so far, and the rows about them."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.known: dict[int, Known] = {}
        self.rows = Rows(Table.LEAF)
        self.grads = Rows(Table.GRAD)
        self.newly_zero = False  # in the last engine call, for the first time for some leaf
        self.late = LateNorms(self)
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
            grad, version = grad_of(tensor) or _grad_of(tensor)
            known.grad_id = id(grad) if grad is not None else 0
            known.grad_version = version
            known.held = 0
            if grad is None:
                continue
            if known.grad_id == known.after_id and version == known.after_version:
                known.held = UNSURE if known.late >= 0 else 0 if known.is_zero else HELD
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
        dense = [pair for pair in unsure if looked and _can_be_read(pair[1])]
        norms = norms_of([grad for _, grad in dense])
        for known, _ in unsure:
            known.held = UNSURE
        for (known, _), norm in zip(dense, norms, strict=True):
            if norm is not None:
                known.held = 0 if norm == 0.0 else HELD

    def after(
        self,
        living: list[tuple[Known, Any]],
        backward: int,
        reached: set[int],
        *,
        full: bool,
        stack: int,
    ) -> bool:
        """Write what the engine left in each leaf's `.grad`; whether any is a bad number.

        Where a device would have to be waited for, only a `full` look waits. `stack` is the
        call's, for what is told late.
        """
        dense: list[Dense] = []
        late: list[Dense] = []
        self.newly_zero = False
        self._written = []
        for known, tensor in living:
            asked, version, grad, grad_version, kind = look(tensor) or _look(tensor)
            flags = known.flags | known.held | asked
            if known.serial in reached:
                flags |= REACHED
            known.late = -1
            if kind == NO_GRAD:
                known.after_id, known.after_version = 0, -1
                self._write(backward, known, version, NONE, flags)
                continue
            known.after_id, known.after_version = id(grad), grad_version
            if known.after_id != known.grad_id or grad_version != known.grad_version:
                flags |= FRESH
            if kind == OTHER_GRAD:
                sparse = not answers_itself(grad) and grad.is_sparse
                state = GradState.SPARSE if sparse else GradState.UNREAD
                self._write(backward, known, version, int(state), flags)
                continue
            kept = dense if full or kind == DENSE_HERE else late
            kept.append((known, tensor, grad, flags))
        bad = self._dense(backward, dense, full) if dense else False
        if late:
            self.late.ask(backward, stack, late)
        self.grads.extend(self._written)
        return bad

    def _dense(self, backward: int, dense: list[Dense], full: bool) -> bool:
        wanted = self.recorder.options.stats != "none"
        norms = norms_of([grad for _, _, grad, _ in dense]) if wanted else [None] * len(dense)
        bad = False
        for (known, tensor, grad, flags), norm in zip(dense, norms, strict=True):
            if not full and norm is not None and 0.0 < norm < math.inf:
                self._write(backward, known, version_of(tensor), FINITE, flags, norm)
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
            self._write(backward, known, version_of(tensor), int(state), flags, norm or 0.0, stats)
        return bad

    def _write(
        self,
        backward: int,
        known: Known,
        version: int,
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
        version = version if version > 0 else 0
        self._written += (backward, known.serial, state, flags, version, norm, *stats)

    def write_late(
        self, backward: int, known: Known, version: int, state: int, flags: int, norm: float
    ) -> bool:
        """The row of a gradient that was waited for; whether a full look at the next is due."""
        due = state in (GradState.NAN, GradState.INF) or (state == ZERO and not known.was_zero)
        if known.late == backward:  # nothing has been in `.grad` since
            known.late, known.is_zero = -1, state == ZERO
        if state in (ZERO, FINITE):
            known.was_zero = state == ZERO
        version = version if version > 0 else 0
        row = [backward, known.serial, int(state), flags, version, norm, *UNKNOWN]
        self.grads.extend(row)
        return due


def _grad_of(tensor: Any) -> tuple[Any, int]:
    """(`.grad` or None, its version) of any tensor."""
    grad = tensor.grad if tensor.is_leaf or tensor.retains_grad else None
    return grad, version_of(grad)


def _look(tensor: Any) -> tuple[int, int, Any, int, int]:
    """(flags, version, `.grad` or None, its version, its kind) of any tensor."""
    flags = (IS_LEAF if tensor.is_leaf else 0) | (REQUIRES if tensor.requires_grad else 0)
    grad, version = _grad_of(tensor)
    kind = NO_GRAD if grad is None else OTHER_GRAD
    if grad is not None and _plain(grad) and grad.layout is torch.strided and not grad.is_meta:
        kind = DENSE_HERE if is_host(grad) else DENSE_ELSEWHERE
    return flags, version_of(tensor), grad, version, kind


def _can_be_read(grad: Any) -> bool:
    return _plain(grad) and not grad.is_sparse and not is_capturing(grad)


def _plain(grad: Any) -> bool:
    """Whether norms can be taken without running a subclass's own code."""
    return type(grad) in EXACT and not grad.is_nested and grad.dtype in MEASURED
