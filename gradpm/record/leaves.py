"""The leaves: every parameter, and what its `.grad` is after each engine call."""

from __future__ import annotations

import math
import weakref
from typing import TYPE_CHECKING, Any

import torch

from gradpm.record.hot import Known, all_finite, begin, end
from gradpm.record.known import FINITE, HELD, IS_LEAF, REQUIRES, UNKNOWN, UNSURE, alive, is_plain
from gradpm.record.late import LateNorms, is_capturing
from gradpm.record.measure import norms_of, state_of, statistics
from gradpm.record.quiet import is_leaf, quiet
from gradpm.record.rows import Rows
from gradpm.trace.schema import GradState, Leaf, LeafKind, Table

if TYPE_CHECKING:
    from gradpm.record.known import Dense
    from gradpm.record.recorder import Recorder


SHARED = -1
ZERO = int(GradState.ZERO)
ALIVE, OPTIMIZED = int(Leaf.ALIVE), int(Leaf.OPTIMIZED)


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
        self._measures = recorder.options.stats != "none"
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
        self.known[serial] = Known(weakref.ref(tensor), serial, int(kind), owner, ALIVE | lasting)
        flags = lasting | (REQUIRES if tensor.requires_grad else 0)
        flags |= IS_LEAF if is_leaf(tensor) else 0
        spec = self.recorder.specs.of(tensor)
        self.rows.add(serial, kind, spec, stack, flags, self.recorder.ops_so_far())
        return serial

    def optimized(self, serial: int) -> None:
        """An optimizer has this leaf."""
        self.known[serial].flags |= OPTIMIZED

    def own(self, reached: set[int], number: int, unsafe: set[int] | frozenset[int]) -> None:
        """A thread's engine call reaches these leaves: they are its own from now on."""
        for serial in reached:
            known = self.known.get(serial)
            if known is not None:
                known.owner = SHARED if known.owner in unsafe else number

    def forget_dead(self) -> None:
        """Keep nothing about leaves that are no more."""
        alive(self.known, set())

    def before(self, unsafe: set[int] | frozenset[int]) -> list[tuple[Known, Any]]:
        """Note which gradient every leaf has as the engine starts."""
        living, unsure = begin(self.known, unsafe)
        if unsure:
            self._settle(unsure)
        return living

    def _settle(self, unsure: list[tuple[Known, Any]]) -> None:
        """Gradients that were changed since the last engine call: zeroed, or only scaled?"""
        self._settled += 1
        count = self._settled
        looked = count <= 16 or not count & (count - 1)  # ever more rarely: it costs a norm
        looked = looked and self._measures
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
        self.newly_zero = False
        written: list[Any] = []
        self._written = written
        dense, norms, late = end(living, reached, full, self._measures, backward, written)
        bad = False
        if dense:
            if None in norms or not self._measures:
                norms = self._measured(dense, norms)
            if full or not all_finite(dense, norms, backward, written):
                bad = self._dense(backward, dense, norms, full)
        if late:
            self.late.ask(backward, stack, late)
        self.grads.extend(written)
        return bad

    def _measured(self, dense: list[Dense], norms: list[float | None]) -> list[float | None]:
        """These norms, and torch's of the gradients that are missing; none if none are wanted."""
        if not self._measures:
            return [None] * len(dense)
        missing = [at for at, norm in enumerate(norms) if norm is None]
        for at, norm in zip(missing, norms_of([dense[at][2] for at in missing]), strict=True):
            norms[at] = norm
        return norms

    def _dense(
        self, backward: int, dense: list[Dense], norms: list[float | None], full: bool
    ) -> bool:
        bad = False
        for (known, version, grad, flags), norm in zip(dense, norms, strict=True):
            if not full and norm is not None and 0.0 < norm < math.inf:
                self._write(backward, known, version, FINITE, flags, norm)
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
            self._write(backward, known, version, int(state), flags, norm or 0.0, stats)
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
        row = [backward, known.serial, int(state), flags, version, norm, *UNKNOWN]
        self.grads.extend(row)
        return due


def _can_be_read(grad: Any) -> bool:
    return is_plain(grad) and not grad.is_sparse and not is_capturing(grad)
