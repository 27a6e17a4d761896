"""Whether a parameter was changed by anything at all between two points of the run."""

from __future__ import annotations

from gradpm.diagnose.case import Case
from gradpm.diagnose.ops import LAST

BY_DATA = frozenset(["data.__get__", "data.__set__"])  # no version counter tells of these


def is_moved(case: Case, serial: int, since: int, before: int = LAST) -> bool:
    """Whether the program, or an optimizer that is given gradients otherwise, changed it."""
    if case.memory.changes({case.memory.root(serial)}, since, before):
        return True
    later = (case.facts.op(row) for row in case.facts.users.get(serial, ()))
    return any(op.name in BY_DATA and since < op.id < before for op in later)
