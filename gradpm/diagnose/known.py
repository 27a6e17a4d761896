"""What was seen of the tensors behind a loss that is not finite."""

from __future__ import annotations

from dataclasses import dataclass, field

from gradpm.diagnose.backwards import Backward
from gradpm.diagnose.case import Case
from gradpm.diagnose.looks import Look
from gradpm.diagnose.ops import OpRow
from gradpm.trace.schema import When


@dataclass
class Known:
    """What is known of the tensors behind a bad loss."""

    of: dict[int, Look] = field(default_factory=dict)  # serial -> look
    at: dict[int, list[Look]] = field(default_factory=dict)  # row -> what its nodes saved

    def bad(self, serial: int) -> bool:
        """Known to be bad."""
        return serial in self.of and self.of[serial].bad

    def fine(self, serial: int) -> bool:
        """Known to be finite."""
        return serial in self.of and not self.of[serial].bad


def known_behind(case: Case, call: Backward) -> Known:
    """Looks by serial; a node's saved result is the first thing that its op gave out."""
    facts, known = case.facts, Known()
    for op_id, looks in case.looks.at_op.items():
        row = case.trace.op_row.get(op_id)
        for look in looks:
            known.of[look.serial] = look
            if row is not None and look.slot == "in":
                known.at.setdefault(row, []).append(look)
    for look in case.looks.walked[call.number]:
        row = case.graphs.row_of(look.seq) if look.when == When.SAVED else -1
        if row >= 0:
            known.at.setdefault(row, []).append(look)
        if look.serial:
            known.of[look.serial] = look
        elif row >= 0 and look.slot in ("result", "output"):
            op = facts.op(row)
            if op.outs and _size(case, op) == look.numbers:
                known.of.setdefault(op.outs[0], look)
    return known


def _size(case: Case, op: OpRow) -> int:
    total = 1
    for length in case.trace.spec(op.specs[0]).shape:
        total *= length
    return total
