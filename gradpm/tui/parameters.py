"""Every parameter and what each backward left in its `.grad`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradpm.trace.model import LeafRow, Trace
from gradpm.trace.schema import GradState, Leaf, LeafKind, Table
from gradpm.tui.folding import Preorder
from gradpm.tui.graph import column
from gradpm.tui.marks import ABSENT, FROZEN, STATE, Mark, number

HEALTHY = (GradState.FINITE, GradState.SPARSE, GradState.UNREAD)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A leaf that can learn, under the name that a person gives it."""

    name: str
    leaf: LeafRow
    optimizer: str  # `AdamW`, `SGD, group 1`, or empty


@dataclass(frozen=True, slots=True)
class Grad:
    """A leaf right after a backward."""

    state: GradState
    flags: int
    version: int
    norm: float

    @property
    def requires(self) -> bool:
        """Whether it asked for a gradient then."""
        return bool(self.flags & Leaf.REQUIRES)


Grads = dict[int, Grad]


def read_parameters(trace: Trace) -> list[Parameter]:
    """Parameters in the order of their making, then other leaves that have a name.

    One without a name that was gone before the first backward (a layer that only served as a
    pattern for copies) is left out.
    """
    owner = _optimizers(trace)
    seen = set(np.unique(column(trace, Table.GRAD, "leaf")).tolist())
    found = [
        Parameter(trace.name(serial) or f"unnamed {leaf.spec}", leaf, owner.get(serial, ""))
        for serial, leaf in trace.leaves.items()
        if (trace.name(serial) and leaf.kind in (LeafKind.PARAMETER, LeafKind.TENSOR))
        or (leaf.kind is LeafKind.PARAMETER and (serial in seen or not seen))
    ]
    return sorted(found, key=lambda p: p.leaf.kind is not LeafKind.PARAMETER)


def _optimizers(trace: Trace) -> dict[int, str]:
    """serial -> the optimizer that owns it."""
    found: dict[int, str] = {}
    for event in trace.events:
        if event.kind not in ("optimizer.new", "optimizer.group"):
            continue
        groups = event.detail.get("groups")
        kind = str(event.detail.get("type") or "optimizer")
        for index, group in enumerate(groups if isinstance(groups, list) else ()):
            label = kind if len(groups) == 1 else f"{kind} group {index}"  # type: ignore[arg-type]
            serials = group.get("params") if isinstance(group, dict) else None
            for serial in serials if isinstance(serials, list) else ():
                if isinstance(serial, int):
                    found.setdefault(serial, label)
    return found


def read_grads(trace: Trace, backward: int) -> Grads:
    """What a backward (from 0) left in each leaf."""
    mine = np.flatnonzero(column(trace, Table.GRAD, "backward") == backward)
    kinds = {int(kind): kind for kind in GradState}
    names = ("leaf", "state", "flags", "version", "norm")
    columns = [column(trace, Table.GRAD, name)[mine].tolist() for name in names]
    return {
        leaf: Grad(kinds.get(state, GradState.UNREAD), flags, version, norm)
        for leaf, state, flags, version, norm in zip(*columns, strict=True)
    }


def mark_of(grad: Grad | None) -> Mark:
    """A parameter's status."""
    if grad is None:
        return ABSENT
    if not grad.requires and grad.state is GradState.NONE:
        return FROZEN
    return STATE[grad.state]


def is_healthy(grad: Grad | None) -> bool:
    """Whether there is nothing to look at."""
    return grad is None or grad.state in HEALTHY or mark_of(grad) is FROZEN


def change(before: Grad | None, after: Grad | None) -> tuple[str, str]:
    """(words, role) for what became of a gradient between two backwards."""
    had = before is not None and before.state is not GradState.NONE
    has = after is not None and after.state is not GradState.NONE
    if not had or not has:
        if had == has:
            return "", "dim"
        return ("appeared", "ok") if has else ("vanished", "error")
    assert before is not None
    assert after is not None
    if before.state is not after.state:
        mark = STATE[after.state]
        return f"became {mark.word}", mark.role
    if before.norm > 0 and after.norm > 0 and math.isfinite(before.norm + after.norm):
        ratio = after.norm / before.norm
        return ("same", "dim") if ratio == 1 else (f"× {number(ratio)}", "text")
    return "", "dim"


@dataclass(slots=True)
class ParameterTree:
    """Rows: modules and, below them, parameters."""

    tree: Preorder
    label: list[str]
    parameter: list[int]  # index into the parameters, -1 for a module
    row_of: dict[int, int]  # serial -> row


def grow(parameters: list[Parameter], order: list[int] | None = None) -> ParameterTree:
    """The module tree; with an `order` a flat list of full names instead."""
    depth, label, which = [], [], []
    if order is not None:
        depth, which = [0] * len(order), list(order)
        label = [parameters[index].name for index in order]
    else:
        open_path: list[str] = []
        for index, parts in _by_module(parameters):
            common = 0
            while (
                common < min(len(open_path), len(parts) - 1) and open_path[common] == parts[common]
            ):
                common += 1
            for level in range(common, len(parts) - 1):
                depth.append(min(level, 200))
                label.append(parts[level])
                which.append(-1)
            open_path = parts[:-1]
            depth.append(min(len(parts) - 1, 200))
            label.append(parts[-1])
            which.append(index)
    rows = {parameters[index].leaf.serial: row for row, index in enumerate(which) if index >= 0}
    return ParameterTree(Preorder(np.array(depth, np.uint8)), label, which, rows)


def _by_module(parameters: list[Parameter]) -> list[tuple[int, list[str]]]:
    """Parameters with their paths, each module's together, in order of first appearance."""
    rank: dict[tuple[str, ...], int] = {}
    keyed = []
    for index, parameter in enumerate(parameters):
        parts = parameter.name.split(".")
        key = tuple(rank.setdefault(tuple(parts[:n]), len(rank)) for n in range(1, len(parts) + 1))
        keyed.append((key, index, parts))
    return [(index, parts) for _, index, parts in sorted(keyed, key=lambda one: one[:2])]
