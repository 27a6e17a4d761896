"""The engine calls: `backward()` and `autograd.grad`, in the order in which they began."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING

from gradpm.trace.schema import Call, Table

if TYPE_CHECKING:
    from gradpm.diagnose.gradients import Grads
    from gradpm.trace.model import Trace

# Plain numbers: an enum's own `&` takes ten times as long, and rules ask for each call's flags.
_GRAD_CALL, _RAISED, _LOSS = int(Call.GRAD_CALL), int(Call.RAISED), int(Call.LOSS)
_KNOWN = 1023  # the bits of a call's flags below its thread's


@dataclass(slots=True)
class Backward:
    """One engine call."""

    row: int
    number: int
    flags: Call
    frame: int
    op: int
    op_end: int
    parent: int
    error: int  # row of the error, -1 for none
    nodes: int
    step: int
    ns: int
    loss: float | None
    roots: tuple[int, ...]
    inputs: tuple[int, ...]
    grads: Grads = field(init=False)

    @property
    def is_grad_call(self) -> bool:
        """`autograd.grad`, which fills no `.grad`."""
        return int.__and__(self.flags, _GRAD_CALL) != 0

    @property
    def raised(self) -> bool:
        """Whether the engine raised."""
        return int.__and__(self.flags, _RAISED) != 0


def read_backwards(trace: Trace) -> list[Backward]:
    """Every engine call, by number; their gradients are `Gradients.hand_out`'s to give."""
    columns = trace.table(Table.BACKWARD)
    root_starts, roots = columns.ragged("root")
    input_starts, inputs = columns.ragged("input")
    names = ("number", "flags", "frame", "op", "op_end", "parent", "error", "nodes", "step",
             "ns", "loss")  # fmt: skip
    kinds = {flags: Call(flags & _KNOWN) for flags in set(columns["flags"])}
    rows = zip(
        *(columns[name] for name in names), pairwise(root_starts), pairwise(input_starts),
        strict=True,
    )  # fmt: skip
    found = [
        Backward(
            row, number, kinds[flags], frame, op, end, parent - 1, error - 1, nodes, step, ns,
            loss if flags & _LOSS else None,
            tuple(roots[first:last]),
            tuple(inputs[begin:until]) if begin < until else (),
        )
        for row, (
            number, flags, frame, op, end, parent, error, nodes, step, ns, loss,
            (first, last), (begin, until),
        ) in enumerate(rows)
    ]  # fmt: skip
    found.sort(key=attrgetter("number"))
    return found
