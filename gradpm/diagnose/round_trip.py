"""Numbers that left torch and came back unrecognised: bound by order and by the user's names."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from gradpm.diagnose.backwards import Backward
from gradpm.diagnose.case import Case
from gradpm.diagnose.losing import Lost
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.paths import search
from gradpm.diagnose.statements import own_parts, targets_of
from gradpm.diagnose.syntax import Code
from gradpm.trace.model import Frame

COMING_IN = frozenset("tensor as_tensor asarray scalar_tensor from_numpy ?".split())
UNSURE = (
    "The numbers were not recognised when they came back, by memory or by value; that they did is "
    "told by the order and the names of the lines."
)


def feeds(case: Case, row: int) -> bool:
    """Whether data from outside torch came in and reached the next engine call's root."""
    facts = case.facts
    left = facts.op(row).id
    call = next((call for call in facts.backwards if call.op > left), None)
    if call is None:
        return False
    end = facts.row_at(call.op)
    if named_again(case, row, end, set(call.roots)):
        return True
    for later in range(row + 1, end):
        op = facts.op(later)
        if op.name not in COMING_IN or op.ins or not op.specs:
            continue
        if not facts.trace.spec(op.specs[0]).dtype.startswith(("float", "bfloat", "complex")):
            continue
        if _reaches(case, op, set(call.roots), end):
            return True
    return False


def came_back(case: Case, escaped: Lost, call: Backward) -> list[int]:
    """The rows where numbers left that the loss was made of: by name, else by order."""
    facts, roots = case.facts, set(call.roots)
    end = facts.row_at(call.op)
    before = max((b.op for b in facts.backwards if b.op < call.op), default=0)
    rows = [row for row in escaped if before <= facts.op(row).id < call.op]
    rows = [row for row in rows if facts.op(row).name != "__bool__"]
    sites: dict[int, int] = {}
    for row in rows:
        sites.setdefault(facts.op(row).frame, row)
    named = {frame for frame, row in sites.items() if named_again(case, row, end, roots)}
    if not named:
        named = {frame for frame, row in sites.items() if feeds(case, row)}
    return [row for row in rows if facts.op(row).frame in named]


def named_again(case: Case, row: int, end: int, roots: set[int]) -> bool:
    """Whether a variable that holds the number stands in a later line that reaches the root."""
    facts, places = case.facts, case.places
    left = places.frame(facts.op(row).frame)
    held = holders(case, row)
    seen: set[int] = set()
    for later in range(row + 1, end):
        op = facts.op(later)
        if op.frame in seen or not op.outs:
            continue
        seen.add(op.frame)
        frame = places.frame(op.frame)
        if frame is None:
            continue
        here = held & places.names_loaded(frame.path, frame.line)
        if (here or (left is not None and _encloses(frame, left))) and _reaches(
            case, op, roots, end
        ):
            return True
    return False


def _reaches(case: Case, op: OpRow, roots: set[int], end: int) -> bool:
    return bool(set(op.outs) & roots or search(case, set(op.outs), roots, op.row + 1, end))


def _encloses(outer: Frame, inner: Frame) -> bool:
    """Whether one call's expression has another's among its arguments."""
    if outer.path != inner.path or not outer.column or not inner.column:
        return False
    begins = (outer.line, outer.column) <= (inner.line, inner.column)
    ends = (inner.end_line, inner.end_column) <= (outer.end_line, outer.end_column)
    return begins and ends and outer.row != inner.row


def holders(case: Case, row: int) -> set[str]:
    """Variables that may hold the number: assigned from its line, from those, and by callers."""
    found: set[str] = set()
    for frame in case.places.user_frames(case.facts.op(row).frame):
        code = case.places.code(frame.path)
        statement = code.statement(frame.line)
        if statement is None:
            break
        body = list(_statements(code, frame))
        held = _spread(body, targets_of(statement))
        found |= held
        if not _hands_out(statement, None) and not any(_hands_out(s, held) for s in body):
            break
    return found


def _statements(code: Code, frame: Frame) -> Iterator[ast.stmt]:
    function = code.function(frame.first_line, frame.function)
    for node in ast.walk(function) if function is not None else code.statements:
        if isinstance(node, ast.stmt) and node is not function:
            yield node


def _spread(body: list[ast.stmt], held: set[str]) -> set[str]:
    """The names, and those that statements of the function assign from them."""
    held = set(held)
    for _ in range(4):
        size = len(held)
        for statement in body:
            targets = targets_of(statement)
            if targets and held & _loaded(statement):
                held |= targets
        if len(held) == size:
            break
    return held


def _loaded(statement: ast.stmt) -> set[str]:
    return {
        getattr(node, "id", "") or getattr(node, "attr", "")
        for node in own_parts(statement)
        if isinstance(getattr(node, "ctx", None), ast.Load)
    } - {"", "self"}


def _hands_out(statement: ast.stmt, held: set[str] | None) -> bool:
    """Whether a statement returns or yields (one of these names, where names are given)."""
    gives = isinstance(statement, ast.Return) or any(
        isinstance(node, (ast.Yield, ast.YieldFrom)) for node in own_parts(statement)
    )
    return gives and (held is None or bool(held & _loaded(statement)))
