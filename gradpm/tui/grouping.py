"""How the outline groups nodes: by module call, with repeated blocks together, or by line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from gradpm.trace.model import Trace
from gradpm.trace.schema import Table
from gradpm.tui.graph import Array, Graph, user_frames
from gradpm.tui.inside import calls_made


class Kind(IntEnum):
    """What a group stands for."""

    TOP = 0
    CALL = 1  # a module call; ref: row of SCOPE
    REPEAT = 2  # calls of one class in a row; ref: how many
    TURN = 3  # one turn of a loop over such calls; ref: its number from 1
    LINE = 4  # a line of the user's; ref: row of FRAME
    WITHIN = 5  # one call of the user's that made many nodes; ref: row of OP


@dataclass(slots=True)
class Groups:
    """A forest: parent, kind and meaning per group, and the group of each node. 0 is the top."""

    parent: list[int] = field(default_factory=lambda: [-1])
    kind: list[Kind] = field(default_factory=lambda: [Kind.TOP])
    ref: list[int] = field(default_factory=lambda: [0])
    label: list[str] = field(default_factory=lambda: [""])  # of a call: empty, see call_label
    turns: Array = field(default_factory=lambda: np.zeros((0, 2), np.int32))  # (which, of how many)
    blocks: set[int] = field(default_factory=set)  # calls that hold other calls
    of_node: Array = field(default_factory=lambda: np.zeros(0, np.int32))

    def add(self, parent: int, kind: Kind, ref: int, label: str = "") -> int:
        """A new group."""
        self.parent.append(parent)
        self.kind.append(kind)
        self.ref.append(ref)
        self.label.append(label)
        return len(self.parent) - 1

    def intervals(self) -> tuple[list[int], list[int]]:
        """(first, last) per group: b is within a when first[a] <= first[b] <= last[a]."""
        parent = self.parent  # always smaller than the group itself
        size = [1] * len(parent)
        for group in range(len(parent) - 1, 0, -1):
            size[parent[group]] += size[group]
        first = [0] * len(parent)
        free = [1] * len(parent)  # where the next child of each begins
        for group in range(1, len(parent)):
            above = parent[group]
            at = first[group] = free[above]
            free[above] = at + size[group]
            free[group] = at + 1
        return first, [at + below - 1 for at, below in zip(first, size, strict=True)]


def no_groups(graph: Graph) -> Groups:
    """Nodes only."""
    return Groups(of_node=np.zeros(len(graph), np.int32))


def by_line(graph: Graph, trace: Trace) -> Groups:
    """The user's own call stack: a line, and below it the lines that it called."""
    groups = Groups()
    users = user_frames(trace)
    parents = trace.table(Table.FRAME)["parent"]
    made: dict[int, int] = {0: 0}
    for frame in np.unique(graph.frame).tolist():
        chain = []
        while frame not in made:
            chain.append(frame)
            frame = int(users[parents[frame]])
        for one in reversed(chain):
            made[one] = groups.add(made[frame], Kind.LINE, one, line_label(trace, one))
            frame = one
    table = np.zeros(max(made) + 1, np.int32)
    for frame, group in made.items():
        table[frame] = group
    groups.of_node = table[graph.frame]
    return groups


def line_label(trace: Trace, row: int) -> str:
    """The source text of a frame's line, else its function's name."""
    frame = trace.frame(row)
    if frame is None:
        return ""
    lines = trace.source_lines(frame.path)
    text = lines[frame.line - 1].strip() if 0 < frame.line <= len(lines) else ""
    return text or f"{frame.function}()"


def by_module(graph: Graph, trace: Trace, least: int = 3) -> Groups:
    """Module calls as they nested; `least` or more of one class in a row become one group."""
    groups = Groups()
    calls = _Calls.of(graph, trace)
    made = {0: 0}
    spans: list[tuple[int, int, int, int]] = []  # (outer scope, first seq, next seq, group)
    stack = [0]
    while stack:
        outer = stack.pop()
        for run in calls.runs(outer, least):
            made.update(_add_run(groups, made[outer], run, calls, least))
            if groups.parent[made[run[0]]] != made[outer]:
                end = calls.first[run[-1]]
                spans += [(outer, calls.first[s], end, groups.parent[made[s]]) for s in run]
            stack.extend(scope for scope in run if scope in calls.inner)
    table = np.zeros(len(calls.outer) or 1, np.int32)
    table[np.fromiter(made, np.int64, len(made))] = np.fromiter(made.values(), np.int32, len(made))
    groups.of_node = table[graph.scope]
    _adopt(graph, groups, spans)
    fold_calls(graph, groups, trace)
    groups.blocks = {made[scope] for scope in calls.inner}
    groups.turns = np.zeros((len(groups.parent), 2), np.int32)
    for scope, turn in calls.turns():
        if scope in made:
            groups.turns[made[scope]] = turn
    return groups


@dataclass(slots=True)
class _Calls:
    """The module calls that made a graph. Lists: they are looked up a million times."""

    trace: Trace
    outer: list[int]
    module: list[int]
    class_of: list[int]  # by module: string id
    first: dict[int, int]  # scope -> lowest sequence number in it
    inner: dict[int, list[int]]  # scope -> calls within it, in order

    @classmethod
    def of(cls, graph: Graph, trace: Trace) -> _Calls:
        scopes = trace.table(Table.SCOPE)
        outer = [parent if parent < row else 0 for row, parent in enumerate(scopes["parent"])]
        first = _first_use(graph, outer)
        inner: dict[int, list[int]] = {}
        for scope in sorted(first, key=first.__getitem__):
            if scope:
                inner.setdefault(outer[scope], []).append(scope)
        classes = trace.table(Table.MODULE)["class"].tolist()
        return cls(trace, outer, scopes["module"].tolist(), classes, first, inner)

    def class_id(self, scope: int) -> int:
        module = self.module[scope]
        return self.class_of[module] if module < len(self.class_of) else 0

    def class_name(self, scope: int) -> str:
        return self.trace.string(self.class_id(scope))

    def runs(self, outer: int, least: int) -> list[list[int]]:
        """Calls next to each other that are of one class, and blocks: not a q, k, v of Linears."""
        runs: list[list[int]] = []
        previous = -1
        for scope in self.inner.get(outer, ()):
            kind = self.class_id(scope)
            if kind == previous and not self._turns_to_another(runs[-1], scope):
                runs[-1].append(scope)
            else:
                runs.append([scope])
            previous = kind
        return [
            part
            for run in runs
            for part in (
                [run] if len(run) < least or self._is_block(run[0]) else [[s] for s in run]
            )
        ]

    def _turns_to_another(self, run: list[int], scope: int) -> bool:
        """After one module's calls in a row those of another one: a loop each, not one."""
        module = self.module
        return len(run) > 1 and module[run[-1]] == module[run[-2]] != module[scope]

    def turns(self) -> Iterator[tuple[int, tuple[int, int]]]:
        """For the calls of a module that was called several times: which of how many."""
        met = Counter(self.module[scope] for scope in self.first if scope)
        so_far: Counter[int] = Counter()
        for scope in sorted(filter(None, self.first), key=self.first.__getitem__):
            module = self.module[scope]
            if met[module] > 1:
                so_far[module] += 1
                yield scope, (so_far[module], met[module])

    def _is_block(self, scope: int) -> bool:
        return scope in self.inner or call_label(self.trace, scope)[-1:].isdigit()


def _first_use(graph: Graph, outer: list[int]) -> dict[int, int]:
    """The lowest sequence number in each scope and in those within it."""
    first: dict[int, int] = {0: 0}
    with_number = graph.seq >= 0
    scopes, seqs = graph.scope[with_number], graph.seq[with_number]
    order = np.lexsort((seqs, scopes))
    used, at = np.unique(scopes[order], return_index=True)
    for scope, number in zip(used.tolist(), seqs[order][at].tolist(), strict=True):
        while scope and number < first.get(scope, number + 1):
            first[scope] = number
            scope = outer[scope]
    return first


def _add_run(
    groups: Groups, outer: int, run: list[int], calls: _Calls, least: int
) -> dict[int, int]:
    """Groups for a run of calls: each call, with a group around many, and one around each turn."""
    if len(run) < least:
        return {scope: groups.add(outer, Kind.CALL, scope) for scope in run}
    module, name = calls.module, calls.class_name(run[0])
    again = [at for at, scope in enumerate(run) if module[scope] == module[run[0]]]
    turns = [run[a:b] for a, b in zip(again, [*again[1:], len(run)], strict=True)]
    if len(turns) < least or len(turns[0]) < 2:
        if len(turns) == len(run):  # one module again and again
            path = call_label(calls.trace, run[0])
            name = f"{path.rpartition('.')[2]} ({name})" if path != name else name
        holder = groups.add(outer, Kind.REPEAT, len(run), f"{len(run):,} × {name}")
        return {scope: groups.add(holder, Kind.CALL, scope) for scope in run}
    label = f"{len(turns):,} turns of {len(turns[0])} × {name}"
    around = groups.add(outer, Kind.REPEAT, len(turns), label)
    made: dict[int, int] = {}
    for number, turn in enumerate(turns, 1):
        holder = groups.add(around, Kind.TURN, number, f"turn {number:,} of {len(turns):,}")
        made.update({scope: groups.add(holder, Kind.CALL, scope) for scope in turn})
    return made


def _adopt(graph: Graph, groups: Groups, spans: list[tuple[int, int, int, int]]) -> None:
    """Nodes made between two repeated calls belong to the repetition, not around it."""
    by_outer: dict[int, list[tuple[int, int, int]]] = {}
    for outer, low, end, holder in spans:
        by_outer.setdefault(outer, []).append((low, end, holder))
    for outer, parts in by_outer.items():
        mine = np.flatnonzero((graph.scope == outer) & (graph.seq >= 0))
        if not len(mine):
            continue
        parts.sort()
        at = np.searchsorted(np.array([low for low, _, _ in parts]), graph.seq[mine], "right") - 1
        ends = np.array([end for _, end, _ in parts])
        holders = np.array([holder for _, _, holder in parts], np.int32)
        inside = (at >= 0) & (graph.seq[mine] < ends[np.maximum(at, 0)])
        groups.of_node[mine[inside]] = holders[at[inside]]


def fold_calls(graph: Graph, groups: Groups, trace: Trace) -> None:
    """What a library made of one call of the user's goes below that call."""
    for nodes, name in calls_made(graph, trace):
        outer = int(groups.of_node[nodes[0]])
        made = groups.add(outer, Kind.WITHIN, int(graph.op[nodes[0]]), f"{name}()")
        groups.of_node[nodes[groups.of_node[nodes] == outer]] = made


def module_class(trace: Trace, scope: int) -> str:
    """The class of a call's module."""
    module = trace.table(Table.SCOPE)["module"][scope]
    classes = trace.table(Table.MODULE)["class"]
    return trace.string(classes[module]) if module < len(classes) else ""


def call_label(trace: Trace, scope: int) -> str:
    """A module's dotted path, else its class."""
    if not scope:
        return ""
    module = trace.table(Table.SCOPE)["module"][scope]
    return trace.module_names.get(module, "") or module_class(trace, scope)
