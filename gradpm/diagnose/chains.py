"""What the gradient's norm does along the nodes that one line made, again and again."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gradpm.diagnose.backwards import Backward
from gradpm.diagnose.case import Case
from gradpm.diagnose.origin import LAYERS
from gradpm.diagnose.watched import kind_of
from gradpm.trace.schema import Op, Table

RECOVERED = 1e3
FEWEST = 4  # layers, or passes through one
MOVES = frozenset("T Transpose Permute View Expand AccumulateGrad Unsqueeze Squeeze".split())
# norm of a node that was not looked at, or that only moves numbers; told by identity
UNKNOWN = -1.0


@dataclass
class Chain:
    """The nodes that one line made, again and again, from the loss's end on."""

    frame: int
    rows: list[int]  # of the ops
    count: int
    total: float  # log of the last one's norm over the first one's
    gain: float  # log of what this line's own nodes multiplied by
    norms: list[float]
    weighted: bool  # the line multiplies by matrices
    again: bool  # the same modules in each pass

    @property
    def factor(self) -> float:
        """What each pass multiplies by."""
        return math.exp(self.total / max(self.count - 1, 1))

    @property
    def recovers(self) -> bool:
        """Whether a pass further from the loss gets a gradient far larger than one before it.

        Then the small ones are branches (an attention's keys), and what is beyond them is
        reached by another way: no depth has shrunk it.
        """
        least = math.inf
        for norm in self.norms:
            if norm > RECOVERED * least:
                return True
            least = min(least, norm)
        return False


@dataclass(slots=True)
class _Pass:
    """The nodes of one kind that one line made."""

    seqs: list[int]
    rows: list[int]
    norms: list[float]
    line: tuple[str, int]


def chains_of(case: Case, call: Backward) -> list[Chain]:
    """Nodes of one kind made by one line of the user's, at least FEWEST times.

    A graph may have a million nodes, so this reads columns and makes an object of none.
    """
    passes, gains, weights = _passes(case, call)
    stacks = case.trace.table(Table.OP)["frame"]
    chains = []
    for one in passes:
        if len(one.seqs) < FEWEST:
            continue
        order = sorted(range(len(one.seqs)), key=one.seqs.__getitem__, reverse=True)
        norms = [one.norms[at] for at in order]
        if norms[0] > 0.0:
            total = _log(norms[-1]) - _log(norms[0])
            rows = [one.rows[at] for at in order]
            own = weights.get(one.line, [])
            again = 2 * len(set(own)) <= len(own)
            chain = (stacks[rows[0]], rows, len(rows), total, gains[one.line], norms)
            chains.append(Chain(*chain, bool(own), again))
    return chains


def _passes(
    case: Case, call: Backward
) -> tuple[list[_Pass], dict[tuple[str, int], float], dict[tuple[str, int], list[int]]]:
    """The nodes by place in a line and kind; and by line what its nodes have to do with.

    That is the log of what they multiply by, and the weights of those that multiply by some.
    """
    lines = _Lines(case)
    passes: dict[tuple[Any, ...], _Pass] = {}
    gains: dict[tuple[str, int], float] = {}
    weights: dict[tuple[str, int], list[int]] = {}
    known: dict[tuple[int, int], _Pass | None] = {}  # by stack and name, asked for by the million
    stacks = case.trace.table(Table.OP)["frame"]
    for name, seq, norm, onward in _measured(case, call):
        row = lines.row_of(seq)
        stack = stacks[row] if row >= 0 else 0
        key = stack, name
        if key not in known:
            at = lines.at(stack)
            kind = kind_of(case.trace.string(name))
            one = passes.setdefault((at, kind), _Pass([], [], [], at[:2])) if at else None
            known[key] = one
        found = known[key]
        if found is not None:
            found.seqs.append(seq)
            found.rows.append(row)
            found.norms.append(norm)
            gain = _log(onward) - _log(norm) if onward is not UNKNOWN and norm > 0 else 0.0
            gains[found.line] = gains.get(found.line, 0.0) + gain
            weight = lines.weight_of(row)
            if weight is not None:
                weights.setdefault(found.line, []).append(weight)
    return list(passes.values()), gains, weights


def _measured(case: Case, call: Backward) -> Iterator[tuple[int, int, float, float]]:
    """Name, sequence number and norm of each node that was looked at, and that of what left it.

    The gradient that leaves a node towards the layers before it is the largest that reached
    one of those; UNKNOWN where none was looked at.
    """
    span = case.watched.rows(call.number)
    columns = case.trace.table(Table.NODE)
    first, end, most = span.start, span.stop, len(span)
    names, seqs, looked, norms = (
        columns[name][first:end] for name in ("name", "seq", "looked", "norm")
    )
    moves = {name for name in set(names) if kind_of(case.trace.string(name)) in MOVES}
    heard = [
        norm if look and name not in moves else UNKNOWN
        for name, look, norm in zip(names, looked, norms, strict=True)
    ]
    starts, edges = columns.ragged("edge")
    for at, (name, seq, look) in enumerate(zip(names, seqs, looked, strict=True)):
        if not look or seq < 0 or name in moves:
            continue
        onward = UNKNOWN
        for edge in edges[starts[first + at] : starts[first + at + 1]]:
            if 0 <= edge < most:
                there = heard[edge]
                if there is not UNKNOWN and (onward is UNKNOWN or there > onward):
                    onward = there
        yield name, seq, norms[at], onward


class _Lines:
    """Which op made a node, and in which line of the user's."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._seqs, self._rows = case.graphs.sequence()
        self._flags, self._inside = case.facts.op_flags, int(Op.IN_FUNCTION)
        ops = case.trace.table(Table.OP)
        self._names, (self._starts, self._ins) = ops["name"], ops.ragged("in")
        self._layers: dict[int, bool] = {}  # by the string of the op's name

    def row_of(self, seq: int) -> int:
        """The row of the op; -1 when none is known."""
        at = bisect_right(self._seqs, seq)
        if at >= len(self._rows):
            return -1
        row = self._rows[at]
        return self._case.graphs.outside_function(row) if self._flags[row] & self._inside else row

    def at(self, stack: int) -> tuple[str, int, int, int] | None:
        """File, line and columns of a stack: a line may hold two ops of a kind."""
        frame = self._case.places.frame(stack)
        return (frame.path, frame.line, frame.column, frame.end_column) if frame else None

    def weight_of(self, row: int) -> int | None:
        """The serial of what an op of a layer multiplies by; None for other ops."""
        if row < 0:
            return None
        name = self._names[row]
        if name not in self._layers:
            self._layers[name] = self._case.trace.string(name) in LAYERS
        if not self._layers[name]:
            return None
        first, end = self._starts[row], self._starts[row + 1]
        return self._ins[first + 1] if end > first + 1 else 0


def _log(norm: float) -> float:
    return math.log(max(norm, 1e-45))
