"""Looks at living tensors: counts and ranges, taken only when something is wrong."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from gradpm.record.quiet import MEASURED, quiet
from gradpm.record.rows import Rows
from gradpm.trace.schema import Table, When

if TYPE_CHECKING:
    from gradpm.record.recorder import Recorder

MOST_WALKS = 4
MOST_ROWS = 4000
MOST_NUMBERS = 1 << 28
LARGEST_RANGED = 1 << 24


class Looks:
    """LOOK rows. A walk over what a bad loss was made of happens a few times in a run."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.rows = Rows(Table.LOOK)
        self.written = 0
        self._walks = 0
        self._was_bad = False

    def wants_walk(self, loss: float) -> bool:
        """Whether the tensors behind this loss are to be looked at before the engine runs."""
        bad = not math.isfinite(loss)
        wanted = bad and (not self._was_bad or self._walks < 2) and self._walks < MOST_WALKS
        self._was_bad = bad
        return wanted

    def walk_from(self, node: Any, backward: int) -> None:
        """The same for what stands behind one node while the engine runs."""
        if self._walks >= MOST_WALKS:
            return
        nodes = [node]
        seen = {node}
        for at in nodes:
            for child, _ in at.next_functions:
                if child is not None and child not in seen and len(nodes) < MOST_ROWS:
                    seen.add(child)
                    nodes.append(child)
        self.walk(nodes, backward)

    def walk(self, nodes: list[Any], backward: int) -> None:
        """Every saved tensor in the graph, and every other tensor that still lives."""
        self._walks += 1
        budget = MOST_NUMBERS
        seen: set[int] = set()
        for node in nodes:
            for slot, tensor in saved_by(node):
                budget -= tensor.numel()
                if budget > 0:
                    serial = self.recorder.identity.find(tensor)
                    seen.add(serial)
                    self.add(When.SAVED, backward, 0, node, slot, serial, tensor)
        others = list(self.recorder.identity.known.values()) if self.recorder.is_alone() else []
        for reference, serial, _ in others:
            tensor = reference()
            if tensor is None or serial in seen or not plain(tensor):
                continue
            budget -= tensor.numel()
            if budget > 0:
                self.add(When.ALIVE, backward, 0, None, "", serial, tensor)

    def add(
        self, when: When, backward: int, op: int, node: Any, slot: str, serial: int, tensor: Any
    ) -> None:
        """Look at one tensor."""
        if self.written >= MOST_ROWS * MOST_WALKS:
            return
        self.written += 1
        text = self.recorder.strings.id
        sequence = node._sequence_nr() if node is not None else -1
        name = text(node.name()) if node is not None else 0
        if sequence >= 1 << 62:
            sequence = -1
        self.rows.add(
            backward, when, op, sequence, name, text(slot), serial, tensor.numel(), *ranged(tensor)
        )


def plain(tensor: Any) -> bool:
    """Whether a tensor can be looked at without running a subclass's own code."""
    return (
        type(tensor) in (torch.Tensor, torch.nn.Parameter)
        and tensor.layout is torch.strided
        and not tensor.is_nested
        and not tensor.is_meta
        and tensor.dtype in MEASURED
    )


def saved_by(node: Any) -> list[tuple[str, Any]]:
    """(slot, tensor) of what a node saved, unpacked by nobody: the raw form runs no hook."""
    found = []
    for name in slots_of(type(node)):
        try:
            saved = getattr(node, name)
        except RuntimeError:  # freed
            continue
        several = saved if isinstance(saved, (tuple, list)) else (saved,)
        for one in several:
            try:
                tensor = getattr(one, "data", None)
            except RuntimeError:
                continue
            if tensor is not None and plain(tensor):
                found.append((name.removeprefix("_raw_saved_"), tensor))
    return found


_slots: dict[type, list[str]] = {}


def slots_of(kind: type) -> list[str]:
    """The raw attributes under which nodes of this type keep what they save."""
    known = _slots.get(kind)
    if known is None:
        known = _slots[kind] = [name for name in dir(kind) if name.startswith("_raw_saved_")]
    return known


def ranged(tensor: Any) -> tuple[int, int, int, float, float]:
    """(NaNs, Infs, zeros, lowest, highest of the finite ones)."""
    with quiet():
        if not tensor.numel():
            return 0, 0, 0, 0.0, 0.0
        if tensor.is_complex():
            tensor = tensor.abs()
        if tensor.numel() > LARGEST_RANGED and bool(torch.isfinite(tensor).all()):
            low, high = torch.aminmax(tensor)
            return 0, 0, 0, float(low), float(high)
        nan = int(torch.isnan(tensor).sum())
        inf = int(torch.isinf(tensor).sum())
        zero = int((tensor == 0).sum())
        if nan or inf:
            tensor = tensor[torch.isfinite(tensor)]
        if not tensor.numel():
            return nan, inf, zero, 0.0, 0.0
        low, high = torch.aminmax(tensor)
        return nan, inf, zero, float(low), float(high)


def finite(tensor: Any) -> bool:
    """Whether all numbers are; a large sum that overflows is looked at again.

    Sum, rather than isfinite().all(): a quarter of its cost on a small tensor.
    """
    total = float(tensor.sum().real if tensor.is_complex() else tensor.sum())
    return math.isfinite(total) or bool(torch.isfinite(tensor).all())
