"""With create_graph: which node's backward made which new nodes, told by their numbers."""

from __future__ import annotations

import torch

from gradpm.record.graph import Graph

MOST_WINDOWS = 20_000


class Derived:
    """Sequence numbers handed out while one node's backward ran: its derivatives are these."""

    def __init__(self) -> None:
        self._windows: list[tuple[int, int, int]] = []  # (first, end, origin)

    def remember(self, graph: Graph) -> None:
        """A call with create_graph has ended."""
        entered = list(graph.entered.items())
        if not entered:
            return
        now = torch._C._autograd._get_sequence_nr()
        ends = [first for _, first in entered[1:]] + [now]
        self._windows = self._windows[-MOST_WINDOWS:] + [
            (first, end, graph.nodes[at]._sequence_nr())
            for (at, first), end in zip(entered, ends, strict=True)
            if end > first
        ]

    def forget(self) -> None:
        """Another call has ended: no graph of a graph is left."""
        self._windows.clear()

    def born(self, graph: Graph) -> dict[int, int]:
        """For nodes that an earlier backward made: the number of the node that it was running."""
        found = {}
        for at, node in enumerate(graph.nodes):
            number = node._sequence_nr() if at not in graph.leaves else -1
            for first, end, origin in reversed(self._windows):
                if first <= number < end:
                    found[at] = number = origin  # a third derivative's origin is itself born
        return found
