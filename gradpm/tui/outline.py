"""An autograd graph as a tree of rows that a person can read, however deep it is.

* A node's one *home* is below its consumer nearest the loss; every other edge to it is a
  reference row.
* The *heavy path*: of a node's inputs the one with the largest subtree goes on at the same
  indent, lighter ones nest. The indent is then at most log2 of the number of nodes: a chain of
  a million nodes has depth 2. A residual stream reads as a spine with foldable branches.
* A run of one group (a module call, a repetition, a line) along a path gets a row of its own.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from gradpm.tui.folding import Ints, Preorder
from gradpm.tui.graph import Array, Graph
from gradpm.tui.grouping import Groups, Kind

_DEEPEST = 200
_LEAST = 3


class RowKind(IntEnum):
    """What a row stands for; what its `ref` means."""

    GROUP = 0  # ref: the group
    NODE = 1  # ref: the node
    REFERENCE = 2  # ref: the node that has its home elsewhere
    CUT = 3  # ref: which of the cuts
    LOST = 4  # ref: which of the lost stations behind a cut


@dataclass(slots=True)
class Outline:
    """Rows in preorder, and where each node has its home."""

    graph: Graph
    groups: Groups
    tree: Preorder
    kind: Array
    ref: Ints
    row_of: Ints  # node -> its row
    home: Ints  # node -> its consumer nearest the loss, -1 for roots
    nodes_before: Ints  # prefix sums over rows
    leaves_before: Ints

    def path(self, node: int) -> list[int]:
        """The nodes from the loss to `node`."""
        found = []
        while node >= 0:
            found.append(node)
            node = int(self.home[node])
        return found[::-1]

    def counts(self, row: int) -> tuple[int, int]:
        """(nodes, parameters) in the rows below `row`."""
        end = row + int(self.tree.size[row]) + 1
        return (
            int(self.nodes_before[end] - self.nodes_before[row]),
            int(self.leaves_before[end] - self.leaves_before[row]),
        )

    def troubles(self) -> Ints:
        """Rows where the gradient becomes zero, Inf, NaN or None, coming from the loss."""
        bad = self.graph.bad
        before = np.where(self.home >= 0, bad[np.maximum(self.home, 0)], 0)
        nodes = np.flatnonzero((bad > 0) & (bad != before))
        cuts = np.flatnonzero(self.kind == RowKind.CUT)
        failed = self.row_of[[self.graph.failed] if self.graph.failed >= 0 else []]
        return np.unique(np.concatenate([self.row_of[nodes], cuts, failed])).astype(np.int32)


Progress = Callable[[float], None]
Around = tuple[int, int, "Around | None"]
Cuts = Mapping[int, list[tuple[RowKind, int]]]


def build(
    graph: Graph, groups: Groups, cuts: Cuts | None = None, progress: Progress | None = None
) -> Outline:
    """The outline of a graph; `cuts`: rows to put below a node, (kind, ref) each."""
    home = _homes(graph)
    size = _sizes(home)
    if progress:
        progress(0.3)
    heavy = _heavy(home, size)
    rows = _Rows(graph, groups, home, heavy)
    rows.put(cuts or {}, progress)
    kind = np.frombuffer(bytes(rows.kinds), np.uint8)
    ref = np.array(rows.refs, np.int32)
    tree = Preorder(np.frombuffer(bytes(rows.depths), np.uint8))
    is_node = kind == RowKind.NODE
    at = np.flatnonzero(is_node)
    row_of = np.full(len(graph), -1, np.int32)
    row_of[ref[at]] = at
    is_leaf = is_node.copy()
    is_leaf[at] = graph.leaf[ref[at]] != 0
    return Outline(
        graph, groups, tree, kind, ref, row_of, home, _prefix_sums(is_node), _prefix_sums(is_leaf)
    )


def _prefix_sums(flags: Array) -> Ints:
    sums = np.zeros(len(flags) + 1, np.int32)
    np.cumsum(flags, out=sums[1:])
    return sums


def _homes(graph: Graph) -> Ints:
    """Each node's first consumer; edges stand in order of their consumers."""
    source = np.repeat(np.arange(len(graph), dtype=np.int32), np.diff(graph.start))
    home = np.full(len(graph), -1, np.int32)
    home[graph.target[::-1]] = source[::-1]
    return home


def _sizes(home: Ints) -> list[int]:
    """Nodes at home below each node, itself included: one pass from the leaves."""
    parents = home.tolist()
    size = [1] * len(parents)
    for node in range(len(parents) - 1, 0, -1):
        parent = parents[node]
        if parent >= 0:
            size[parent] += size[node]
    return size


def _heavy(home: Ints, size: list[int]) -> list[int]:
    """Each node's input with the largest subtree, -1 for none."""
    heavy = np.full(len(home), -1, np.int32)
    order = np.argsort(np.array(size, np.int32), kind="stable")
    order = order[home[order] >= 0]
    heavy[home[order]] = order
    found: list[int] = heavy.tolist()
    return found


class _Rows:
    """Rows as they are put down. An `Around` is an open group, the depth in it, what is outside."""

    def __init__(self, graph: Graph, groups: Groups, home: Ints, heavy: list[int]) -> None:
        self.kinds, self.refs, self.depths = bytearray(), array("i"), bytearray()
        self._graph, self._heavy, self._homes = graph, heavy, home.tolist()
        self._parent_of, self._group_of = groups.parent, _inherited(graph, home, groups)
        self._first, self._last = groups.intervals()
        self._kinds = groups.kind
        self._least = [2 if group in groups.blocks else _LEAST for group in range(len(groups.kind))]

    def add(self, kind: int, ref: int, depth: int) -> None:
        """One row."""
        self.kinds.append(kind)
        self.refs.append(ref)
        self.depths.append(min(depth, 255))

    def put(self, cuts: Cuts, progress: Progress | None) -> None:
        """All rows, in preorder. Long for speed's sake: a million nodes take a second."""
        start, target = self._graph.start.tolist(), self._graph.target.tolist()
        homes, heavy, group_of = self._homes, self._heavy, self._group_of
        first, last, add = self._first, self._last, self.add
        put_kind, put_ref, put_depth = self.kinds.append, self.refs.append, self.depths.append
        roots = [node for node, parent in enumerate(homes) if parent < 0]
        stack: list[tuple[int, Around]] = [(node, (0, 0, None)) for node in reversed(roots)]
        tick = 0
        while stack:
            node, around = stack.pop()
            group = group_of[node]
            at = first[group]
            while around[2] is not None and not first[around[0]] <= at <= last[around[0]]:
                around = around[2]
            if around[0] != group:
                around = self._opened(node, group, around)
            depth = around[1]
            put_kind(1)  # RowKind.NODE; written out here: it is the row that there are most of
            put_ref(node)
            put_depth(depth)
            if node in cuts:
                for kind, ref in cuts[node]:
                    add(kind, ref, depth + (1 if kind is RowKind.CUT else 2))
            if heavy[node] >= 0:
                stack.append((heavy[node], around))
            begin, end = start[node], start[node + 1]
            if end - begin == 1:  # most nodes: the one input goes on, or stands elsewhere
                if homes[target[begin]] != node:
                    add(RowKind.REFERENCE, target[begin], depth + 1)
            elif end > begin:
                inside = (group, min(depth + 1, _DEEPEST), None)
                light = self._inputs(node, target[begin:end], depth)
                stack.extend((kid, inside) for kid in reversed(light))
            tick += 1
            if progress and not tick & 0x3FFF:
                progress(0.3 + 0.6 * tick / len(homes))

    def _inputs(self, node: int, targets: list[int], depth: int) -> list[int]:
        """Reference rows for edges to nodes that stand elsewhere; the light inputs at home here."""
        light: list[int] = []
        met: set[int] = set()  # `x * x` has two edges to one node
        for kid in targets:
            if self._homes[kid] != node or kid in met:
                self.add(RowKind.REFERENCE, kid, depth + 1)
                continue
            met.add(kid)
            if kid != self._heavy[node]:
                light.append(kid)
        return light

    def _opened(self, node: int, group: int, around: Around) -> Around:
        """Group rows from the groups that are open down to the node's own.

        A group that the path leaves at once gets no row: one node says as much.
        """
        first, last = self._first, self._last
        chain = []
        base, at = around[0], group
        while at > 0 and at != base and not first[at] <= first[base] <= last[at]:
            chain.append(at)
            at = self._parent_of[at]
        while chain:
            one = chain.pop()
            repeats = self._kinds[one] in (Kind.REPEAT, Kind.TURN)
            if self._goes_round(node, one) if repeats else self._stays(node, one):
                depth = around[1]
                self.add(RowKind.GROUP, one, depth)
                around = (one, min(depth + 1, _DEEPEST), around)
        return around

    def _goes_round(self, node: int, group: int) -> bool:
        """Whether the path from `node` goes through several calls of a repetition."""
        heavy, group_of, parent_of = self._heavy, self._group_of, self._parent_of
        low, high = self._first[group], self._last[group]
        call = -1
        while node >= 0 and low <= self._first[group_of[node]] <= high:
            at = group_of[node]
            if at != group and not (call >= 0 and self._within(at, call)):
                if call >= 0:
                    return True
                while parent_of[at] != group:
                    at = parent_of[at]
                call = at
            node = heavy[node]
        return False

    def _within(self, group: int, outer: int) -> bool:
        return self._first[outer] <= self._first[group] <= self._last[outer]

    def _stays(self, node: int, group: int) -> bool:
        """Whether the path from `node` has enough nodes in the group to be worth a row."""
        heavy, group_of, least = self._heavy, self._group_of, self._least[group]
        low, high = self._first[group], self._last[group]
        length, ahead = 1, heavy[node]
        while ahead >= 0 and length < least and low <= self._first[group_of[ahead]] <= high:
            length += heavy[ahead] >= 0  # a leaf adds nothing to a path
            ahead = heavy[ahead]
        return length >= least


def _inherited(graph: Graph, home: Ints, groups: Groups) -> list[int]:
    """Each node's group; a parameter's node belongs to whoever uses it first."""
    group = groups.of_node.copy()
    unknown = np.flatnonzero((graph.seq < 0) & (home >= 0))
    group[unknown] = group[home[unknown]]
    found: list[int] = group.tolist()
    return found
