"""Whether each node of a call's graph is tied to the row of the call that made it.

A mode of the test's own stands inside the tap and notes, of each torch function that it
sees, the tensors that came out and the sequence numbers that were given meanwhile. The
tap's rows must then say the same: the row whose numbers hold a node's must carry the
name of the function that made the node, and what came out of it.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten

from gradpm.record.plans import plan_of

ACCUMULATES = 1 << 62  # such numbers belong to leaves, which no op has made


def now() -> int:
    """The number that the next node will have."""
    return int(torch._C._autograd._get_sequence_nr())


class Ties(TorchFunctionMode):
    """Stands inside the tap for one call, and compares its rows with what it has seen."""

    def __init__(self, recorder: Any) -> None:
        super().__init__()
        self.recorder = recorder
        self.nodes = 0
        self.loose: list[str] = []
        self._calls: list[tuple[int, int, str, list[Any]]] = []  # begun, ended, name, made
        recorder.ops.clear()
        self._begun = now()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        begun = now()
        result = func(*args, **(kwargs or {}))
        made = [t for t in tree_flatten(result)[0] if isinstance(t, torch.Tensor)]
        self._calls.append((begun, now(), plan_of(func)[1], made))
        return result

    def end(self, result: Any) -> None:
        """The call has returned: look at every node that it has made."""
        rows = self._rows()
        ends = list(accumulate((row[0] for row in rows), max))  # as the readers take them
        for node in self._nodes_of(result):
            number = node._sequence_nr()
            self.nodes += 1
            at = bisect_right(ends, number)
            if at == len(ends):
                self.loose.append(f"{node.name()} is beyond all rows")
            else:
                self._compare(node, number, rows[at])

    def _compare(self, node: Any, number: int, row: tuple[int, str, set[int]]) -> None:
        """The row that holds this node against the innermost call that made it."""
        holds = [call for call in self._calls if call[0] <= number < call[1]]
        if not holds:
            self.loose.append(f"{node.name()} was made by no call, tied to {row[1]}")
            return
        _, ended, name, made = min(holds, key=lambda call: call[1] - call[0])
        if row[1].endswith(".apply") and row[0] <= ended:
            return  # a custom Function inside, which no mode sees, and what led up to it
        if row[1] == "?" and row[0] == number + 1 and row[0] <= ended:
            return  # what that Function was given, met there for the first time: this node's
        if name != row[1]:
            self.loose.append(f"{node.name()} of {name} is tied to {row[1]}")
            return
        serials = {self.recorder.identity.find(tensor) for tensor in made}
        if not serials <= row[2]:
            self.loose.append(f"{node.name()}: {name} made {serials}, its row has {row[2]}")

    def _nodes_of(self, result: Any) -> set[Any]:
        queue = [t.grad_fn for t in tree_flatten(result)[0] if isinstance(t, torch.Tensor)]
        seen: set[Any] = set()
        while queue:
            node = queue.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            queue += [child for child, _ in node.next_functions]
        return {n for n in seen if self._begun <= n._sequence_nr() < ACCUMULATES}

    def _rows(self) -> list[tuple[int, str, set[int]]]:
        """(the number after it, its name, the serials that came out) of each row so far."""
        ops = dict(self.recorder.ops.peek())
        texts = {number: text for text, number in self.recorder.strings._ids.items()}
        found, at = [], 0
        for name, sequence, count in zip(ops["name"], ops["seq"], ops["nout"], strict=True):
            outs = set(ops["out*"][at : at + count])
            at += count
            found.append((sequence, texts[name], outs))
        return found
