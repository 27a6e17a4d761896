"""The autograd graphs that were kept, each node tied to the op that made it."""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from gradpm.diagnose.backwards import Backward
from gradpm.diagnose.facts import Facts
from gradpm.diagnose.op_names import target_of
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.stretches import stretches
from gradpm.trace.schema import THREAD_SHIFT, Op, Table


@dataclass(slots=True)
class Node:
    """One node of a graph; `row` is the op row that made it, -1 when not known."""

    at: int
    name: str
    seq: int
    leaf: int
    row: int
    edges: tuple[int, ...]


class Graphs:
    """Graphs by engine call, and which op made the node of a sequence number."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self._known: dict[int, list[Node]] = {}

    @cached_property
    def _by_sequence(self) -> dict[int, tuple[list[int], list[int]]]:
        """By thread, 0 the main one: sequence numbers after each row, and the rows."""
        found: dict[int, tuple[list[int], list[int]]] = {}
        columns = self.facts.trace.table(Table.OP)
        rows = zip(columns["seq"], columns["flags"], strict=True)
        for row, (seq, flags) in enumerate(rows):
            seqs, where = found.setdefault(flags >> THREAD_SHIFT, ([], []))
            if not seqs or seq > seqs[-1]:
                seqs.append(seq)
                where.append(row)
        return found

    def row_of(self, seq: int, *, thread: int = 0) -> int:
        """The row of the op that made the node with this number; -1 when none is known."""
        if seq < 0:
            return -1
        seqs, rows = self.sequence(thread)
        at = bisect.bisect_right(seqs, seq)
        if at >= len(rows):
            return -1
        return self.outside_function(rows[at])

    def sequence(self, thread: int = 0) -> tuple[list[int], list[int]]:
        """The rising sequence numbers after a thread's ops, and the rows of these."""
        return self._by_sequence.get(thread, ([], []))

    def outside_function(self, row: int) -> int:
        """A custom Function's node is numbered before its forward runs: step out to the apply."""
        flags, inside = self.facts.op_flags, int(Op.IN_FUNCTION)
        for later in range(row, min(row + 10_000, len(flags))):
            if not flags[later] & inside:
                return later
        return row

    def of(self, call: Backward) -> list[Node]:
        """The graph of one engine call; empty when it was not kept."""
        if call.number not in self._known:
            self._known[call.number] = self._read(call)
        return self._known[call.number]

    @cached_property
    def _starts(self) -> dict[int, tuple[int, int]]:
        """First row and row after the last of each call's nodes."""
        return stretches(self.facts.trace.table(Table.NODE)["backward"])

    def _read(self, call: Backward) -> list[Node]:
        first, end = self._starts.get(call.number, (0, 0))
        columns = self.facts.trace.table(Table.NODE)
        starts, edges = columns.ragged("edge")
        thread, string = self._thread(call), self.facts.trace.string
        names, seqs, leaves = columns["name"], columns["seq"], columns["leaf"]
        return [
            Node(
                row - first, string(names[row]), seqs[row], leaves[row],
                self.row_of(seqs[row], thread=thread),
                tuple(edge for edge in edges[starts[row] : starts[row + 1]] if edge >= 0),
            )
            for row in range(first, end)
        ]  # fmt: skip

    def _thread(self, call: Backward) -> int:
        """The thread that made the roots; each thread numbers the nodes that it makes."""
        rows = [self.facts.makers.get(root) for root in call.roots]
        return max((self.facts.op(row).thread for row in rows if row is not None), default=0)

    def op(self, node: Node) -> OpRow | None:
        """The op that made a node."""
        return self.facts.op(node.row) if node.row >= 0 else None

    def rows_behind(self, call: Backward) -> set[int]:
        """Rows of the ops whose nodes a call ran: from its graph, else from the data flow."""
        nodes = self.of(call)
        if nodes:
            return {node.row for node in nodes if node.row >= 0}
        return self.behind(call.roots, self.facts.row_at(call.op))

    def behind(self, serials: Iterable[int], end: int) -> set[int]:
        """Rows before `end` whose tracked results flow into these tensors."""
        wanted = set(serials)
        found: set[int] = set()
        flags, tracked = self.facts.op_flags, int(Op.OUT_REQUIRES)
        for row in range(end - 1, -1, -1):
            if not flags[row] & tracked:
                continue
            op = self.facts.op(row)
            mutated = target_of(op)
            made = {*op.outs, *([mutated] if mutated else ())}
            if made & wanted:
                found.add(row)
                if not mutated:
                    wanted -= made
                wanted.update(op.ins)
        return found

    def ancestors(self, nodes: list[Node], start: int) -> set[int]:
        """Nodes that lead to `start` from the roots, itself included."""
        parents: dict[int, list[int]] = {}
        for node in nodes:
            for child in node.edges:
                parents.setdefault(child, []).append(node.at)
        found, queue = {start}, [start]
        while queue:
            for parent in parents.get(queue.pop(), ()):
                if parent not in found:
                    found.add(parent)
                    queue.append(parent)
        return found
