"""Graphs whose gradients were measured node by node."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from gradpm.diagnose.backwards import Backward
from gradpm.diagnose.facts import Facts
from gradpm.diagnose.graphs import Graphs
from gradpm.diagnose.stretches import stretches
from gradpm.trace.schema import Call, Table


@dataclass(slots=True)
class Measured:
    """One node and the gradient that reached it."""

    at: int
    name: str
    seq: int
    leaf: int
    looked: bool
    norm: float
    zero: float
    children: tuple[int, ...]
    parents: list[int] = field(default_factory=list)

    @property
    def alive(self) -> bool:
        """A gradient that is not nothing but zeros reached it."""
        return self.looked and self.zero < 1.0

    @property
    def dead(self) -> bool:
        """Nothing but zeros reached it."""
        return self.looked and self.zero >= 1.0

    @property
    def kind(self) -> str:
        """`Relu` for `ReluBackward0`."""
        return kind_of(self.name)


@lru_cache(maxsize=4096)
def kind_of(name: str) -> str:
    """`Relu` for `torch::autograd::ReluBackward0`."""
    return name.rsplit("::", 1)[-1].rsplit(".", 1)[-1].split("Backward")[0]


class Watched:
    """The measured graphs, by engine call."""

    def __init__(self, facts: Facts, graphs: Graphs) -> None:
        self.facts = facts
        self.graphs = graphs
        self._known: dict[int, list[Measured]] = {}

    @cached_property
    def calls(self) -> list[Backward]:
        """The calls that were watched, filled `.grad` and did not raise."""
        watched = int(Call.WATCHED)
        return [c for c in self.facts.accumulating if int.__and__(c.flags, watched)]

    @cached_property
    def _rows(self) -> dict[int, range]:
        found = stretches(self.facts.trace.table(Table.NODE)["backward"])
        return {number: range(first, end) for number, (first, end) in found.items()}

    def rows(self, number: int) -> range:
        """Where a call's nodes stand in their table."""
        return self._rows.get(number, range(0))

    def of(self, call: Backward) -> list[Measured]:
        """The nodes of one call, the roots' first."""
        if call.number not in self._known:
            if len(self._known) > 4:
                self._known.clear()
            self._known[call.number] = self._read(call.number)
        return self._known[call.number]

    def _read(self, number: int) -> list[Measured]:
        trace = self.facts.trace
        columns = trace.table(Table.NODE)
        starts, edges = columns.ragged("edge")
        rows = self.rows(number)
        wanted = ("name", "seq", "leaf", "looked", "norm", "zero")
        names, seqs, leaves, looked, norms, zeros = (columns[name] for name in wanted)
        most = len(rows)
        nodes = [
            Measured(
                row - rows.start, trace.string(names[row]), seqs[row], leaves[row],
                bool(looked[row]), norms[row], zeros[row],
                tuple(e for e in edges[starts[row] : starts[row + 1]] if 0 <= e < most),
            )
            for row in rows
        ]  # fmt: skip
        for node in nodes:
            for child in node.children:
                nodes[child].parents.append(node.at)
        return nodes
