"""The graph of one backward, as arrays in topological order, each node with its line and call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gradpm.trace.model import Trace
from gradpm.trace.schema import Call, FileKind, Op, Table

Array = npt.NDArray[Any]
_MANY = 20_000


@dataclass(slots=True)
class Graph:
    """Nodes numbered so that every edge leads to a higher number; 0 is the loss's node.

    `node_row` is a node's number within its backward as the trace has it. `frame` is the
    innermost frame in the user's code that made a node, 0 where it is not known; `scope` the
    module call it ran in. Node v's inputs are `target[start[v]:start[v + 1]]`.
    """

    backward: int
    node_row: Array
    name: Array
    leaf: Array
    frame: Array
    scope: Array
    op: Array
    seq: Array
    looked: Array
    norm: Array
    bad: Array  # 0 fine, 1 zero, 2 Inf, 3 NaN; 0 where nobody looked
    start: Array
    target: Array
    raised: bool = False  # the engine stopped on the way
    failed: int = -1  # the node that it had entered last then; -1 where it is not known

    def __len__(self) -> int:
        return len(self.name)


def column(trace: Trace, table: Table, name: str) -> Array:
    """A column without copying it."""
    values = trace.table(table)[name]
    return (
        np.frombuffer(values, dtype=np.dtype(values.typecode)) if len(values) else np.zeros(0, int)
    )


def graph_sizes(trace: Trace) -> dict[int, int]:
    """How many nodes the trace holds of each backward's graph; those without are left out."""
    told = column(trace, Table.BACKWARD, "nodes")
    if len(told) and int(told.max()) >= _MANY:  # so as not to read a million rows for it
        kept = np.flatnonzero(told)
        numbers, sizes = column(trace, Table.BACKWARD, "number")[kept], told[kept]
    else:
        numbers, sizes = np.unique(column(trace, Table.NODE, "backward"), return_counts=True)
    return dict(zip(numbers.tolist(), sizes.tolist(), strict=True))


def read_graph(trace: Trace, backward: int) -> Graph:
    """The graph of a backward, by its number from 0; empty where the trace has none."""
    mine = np.flatnonzero(column(trace, Table.NODE, "backward") == backward)
    low, high = (int(mine[0]), int(mine[-1]) + 1) if len(mine) else (0, 0)

    def part(name: str) -> Array:
        return column(trace, Table.NODE, name)[low:high]

    count = high - low
    seq = part("seq").astype(np.int64)
    starts, flat = trace.table(Table.NODE).ragged("edge")
    begins = np.frombuffer(starts, np.uint64).astype(np.int64)[low : high + 1]
    if not len(begins):
        begins = np.zeros(1, np.int64)
    edges = (
        np.frombuffer(flat, np.int32)[begins[0] : begins[-1]]
        if len(flat)
        else np.zeros(0, np.int32)
    )
    source = np.repeat(np.arange(count, dtype=np.int32), np.diff(begins))
    good = (edges >= 0) & (edges < count)
    source, edges = source[good], edges[good]
    order = _topological(seq, source, edges)
    place = np.empty(count, np.int32)
    place[order] = np.arange(count, dtype=np.int32)
    start, target = _csr(place[source], place[edges], count)
    op, frame, scope = _makers(trace, backward, seq, part("op"))
    frames = user_frames(trace)
    norm, nan, inf = part("norm"), part("nan"), part("inf")
    looked = part("looked") > 0
    raised, last = _where_it_stopped(trace, backward)
    bad = np.where(nan > 0, 3, np.where(inf > 0, 2, (norm == 0).astype(np.uint8))) * looked
    return Graph(
        backward=backward,
        node_row=order,
        name=part("name")[order],
        leaf=part("leaf")[order],
        frame=frames[frame][order],
        scope=scope[order],
        op=op[order],
        seq=seq[order],
        looked=looked[order],
        norm=norm[order],
        bad=bad.astype(np.uint8)[order],
        start=start,
        target=target,
        raised=raised,
        failed=int(place[last]) if 0 <= last < count else -1,
    )


def _where_it_stopped(trace: Trace, backward: int) -> tuple[bool, int]:
    """(whether the engine raised in this backward, the number of the node it had entered last)."""
    mine = column(trace, Table.BACKWARD, "number") == backward
    flags = column(trace, Table.BACKWARD, "flags")[mine]
    if not len(flags) or not flags[0] & int(Call.RAISED):
        return False, -1
    for error in trace.errors:
        last = error.detail.get("last")
        if error.detail.get("engine") == backward and isinstance(last, int):
            return True, last
    return True, -1


def _csr(source: Array, target: Array, count: int) -> tuple[Array, Array]:
    """Edges by source; those that do not lead onward (a damaged file's) are left out."""
    onward = target > source
    source, target = source[onward], target[onward]
    by_source = np.argsort(source, kind="stable")
    start = np.zeros(count + 1, np.int32)
    np.cumsum(np.bincount(source, minlength=count)[:count], out=start[1:])
    return start, target[by_source].astype(np.int32)


def _topological(seq: Array, source: Array, target: Array) -> Array:
    """Node numbers, consumers first. Later-made nodes consume earlier ones; leaves come last."""
    key = np.where(seq < 0, -1, seq)
    order = np.argsort(-key, kind="stable").astype(np.int32)
    place = np.empty(len(seq), np.int32)
    place[order] = np.arange(len(seq), dtype=np.int32)
    if bool(np.all(place[target] > place[source])):
        return order
    return _by_counting(len(seq), source, target)


def _by_counting(count: int, source: Array, target: Array) -> Array:
    """Kahn's order; what stands on a cycle (a damaged file) comes last."""
    start, flat = np.zeros(count + 1, np.int64), target[np.argsort(source, kind="stable")].tolist()
    np.cumsum(np.bincount(source, minlength=count)[:count], out=start[1:])
    begins = start.tolist()
    waiting = np.bincount(target, minlength=count)[:count].tolist()
    order = [node for node in range(count) if not waiting[node]]
    for node in order:
        for kid in flat[begins[node] : begins[node + 1]]:
            waiting[kid] -= 1
            if not waiting[kid]:
                order.append(kid)
    order += [node for node in range(count) if waiting[node] > 0]
    return np.array(order, np.int32)


def _makers(trace: Trace, backward: int, seq: Array, op: Array) -> tuple[Array, Array, Array]:
    """Each node's (op row, frame, scope): the first op whose counter is past the node's number.

    The recorder notes the thread's sequence counter after each op, so an op owns all nodes
    numbered since the op before it.
    """
    flags = column(trace, Table.OP, "flags")
    rows = np.flatnonzero((flags & int(Op.OTHER_THREAD)) == 0)
    ids = column(trace, Table.OP, "id")[rows] if len(rows) else rows
    rows = rows[np.argsort(ids, kind="stable")]
    if not len(rows):
        none = np.full(len(seq), -1, np.int32)
        return none, np.zeros(len(seq), np.int32), np.zeros(len(seq), np.int32)
    counters = np.maximum.accumulate(column(trace, Table.OP, "seq")[rows])
    at = np.searchsorted(counters, seq, "right")
    known = (seq >= 0) & (at < len(rows))
    row = np.where(known, rows[np.minimum(at, len(rows) - 1)], -1).astype(np.int32)
    told = op >= 0
    if told.any():  # a trace that names the op itself
        sorted_ids = np.sort(ids)
        found = np.minimum(np.searchsorted(sorted_ids, op.astype(np.uint64)), len(rows) - 1)
        exact = told & (sorted_ids[found] == op.astype(np.uint64))
        row = np.where(exact, rows[found], row).astype(np.int32)
    frame = np.where(row >= 0, column(trace, Table.OP, "frame")[row], 0).astype(np.int32)
    scope = np.where(row >= 0, column(trace, Table.OP, "scope")[row], 0).astype(np.int32)
    scope[scope >= trace.table(Table.SCOPE).rows] = 0
    frame[frame >= trace.table(Table.FRAME).rows] = 0
    return row, frame, scope


def user_frames(trace: Trace) -> Array:
    """For each frame row, the nearest row (itself or a caller) in the user's code; else 0."""
    files = trace.files
    users = [kind is FileKind.USER for _, kind in files]
    frames = trace.table(Table.FRAME)
    found = [0] * max(frames.rows, 1)
    for row, (file, parent) in enumerate(zip(frames["file"], frames["parent"], strict=True)):
        if row == 0:
            continue
        if file < len(users) and users[file]:
            found[row] = row
        elif parent < row:
            found[row] = found[parent]
    return np.array(found, np.int32)
