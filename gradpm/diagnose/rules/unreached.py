"""GP106 and GP107: used by no op, or by none whose result went on to the loss."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from gradpm.diagnose.case import Case
from gradpm.diagnose.facts import OpRow
from gradpm.diagnose.finding import Location, Severity
from gradpm.diagnose.flow import is_use
from gradpm.diagnose.paths import path_to
from gradpm.diagnose.rules import unused
from gradpm.diagnose.words import place
from gradpm.trace.schema import Op


@dataclass
class Group:
    """Parameters that one line explains."""

    code: str
    location: Location | None
    row: int = -1  # of the op whose result goes nowhere
    serials: list[int] = field(default_factory=list)


def tell_unreached(case: Case, serials: list[int]) -> None:
    """Group what no cut explains by the line to blame, and tell each group."""
    flow = case.flow
    groups: dict[tuple[str, str, int], Group] = {}
    for serial in serials:
        numbers = case.expected.judged_in.get(serial, [])
        if serial not in case.expected.owned:
            numbers = list(flow.roots)  # an autograd.grad call for others took its graph
        if any(flow.roots[n].tracked & flow.bit[serial] for n in numbers if n in flow.roots):
            continue  # tracked to the loss: another rule's matter
        touch, row = flow.touched[serial], -1
        if touch.last_tracked < 0:
            code, location = "GP106", unused.created(case, serial)
        else:
            code, row = "GP107", dead_end_row(case, serial)
            row = touch.last_tracked if row < 0 else row
            location = dropped_at(case, row)
        key = (code, location.file, location.line) if location else (code, "", 0)
        groups.setdefault(key, Group(code, location, row)).serials.append(serial)
    for group in groups.values():
        if group.code == "GP106":
            unused.tell(case, group.serials, group.location)
        else:
            tell_off_path(case, group)


# -- where its results end ----------------------------------------------------------


def dead_end_row(case: Case, serial: int) -> int:
    """The last tracked op made of a parameter whose result nothing took further; else -1."""
    return max(dead_ends(case, serial), default=-1)


def dead_ends(case: Case, serial: int) -> list[int]:
    """The rows of all such ops."""
    facts, users = case.facts, case.facts.users
    queue, seen = [serial], {serial}
    found: list[int] = []
    while queue:
        at = queue.pop()
        for row in users.get(at, ()):
            op = facts.op(row)
            if not op.has(Op.OUT_REQUIRES) or (at == serial and not is_use(op, serial)):
                continue
            if op.has(Op.IN_STEP) or op.has(Op.SETTER):
                continue
            if not _goes_on(case, op.outs, row):
                found.append(row)
            for out in op.outs:
                if out not in seen:
                    seen.add(out)
                    queue.append(out)
    return found


def _goes_on(case: Case, outs: tuple[int, ...], row: int) -> bool:
    return any(
        later > row and case.facts.op(later).has(Op.OUT_REQUIRES)
        for out in outs
        for later in case.facts.users.get(out, ())
    )


def dropped_at(case: Case, row: int) -> Location | None:
    """The line at which an op's result goes nowhere: followed out of functions that return it."""
    return case.places.at(case.places.kept_at(case.facts.op(row).frame), "culprit")


def forgotten_loss(case: Case, serial: int) -> int:
    """The row of a scalar made of this parameter on which backward() was never called; else -1.

    A stop-gradient on the way to one loss is no cut where another loss is there to
    teach the parameter: what is missing is that loss's backward(). It must be called
    a loss by its variable: a metric that is only printed is none.
    """
    flow, bit = case.flow, case.flow.bit[serial]
    mine = {
        row
        for row, outs in _forgotten_scalars(case)
        if any(flow.tracked.get(out, 0) & bit for out in outs)
    }
    rows = mine.intersection(dead_ends(case, serial)) if mine else mine
    if not rows:
        return -1
    facts = case.facts
    name = case.places.received_by(facts.op(max(rows)).frame)
    return max(rows) if "loss" in name.lower() else -1


_scalars: WeakKeyDictionary[Case, list[tuple[int, tuple[int, ...]]]] = WeakKeyDictionary()


def _forgotten_scalars(case: Case) -> list[tuple[int, tuple[int, ...]]]:
    """Rows of scalars that nothing took further, with what backward() was not called on.

    Looked for once: there are few, and thousands of parameters may ask.
    """
    found = _scalars.get(case)
    if found is None:
        facts = case.facts
        roots = {root for call in facts.backwards for root in call.roots}
        found = _scalars[case] = [
            (op.row, tuple(out for out in op.outs if out not in roots))
            for op in facts.ops()
            if op.has(Op.OUT_REQUIRES) and op.id <= case.flow.horizon and _is_scalar(case, op)
            if not _goes_on(case, op.outs, op.row)
        ]
    return found


def _is_scalar(case: Case, op: OpRow) -> bool:
    return bool(op.specs) and not case.trace.spec(op.specs[0]).shape


# -- the words ------------------------------------------------------------------------


def tell_off_path(case: Case, group: Group, *seconds: Location | None, note: str = "") -> None:
    """One result that goes nowhere, and the parameters that only it would have taught."""
    serials, location = group.serials, group.location
    subjects = case.words.parameters(serials)
    who = case.words.who(subjects, serials)
    it = "it" if len(subjects) == 1 else "them"
    op = case.facts.op(group.row)
    name = _called(case, op, location)
    what = f"`{name}`, which {place(location)} computes from {it}," if name else (
        f"what {place(location)} computes from {it}"
    )  # fmt: skip
    if name and _is_scalar(case, op):
        title = f"no backward() is called on {what.rstrip(',')}, nor on anything made of it"
    else:
        title = f"{what} never reaches the loss"
    case.finding(
        "GP107",
        Severity.WARNING,
        f"{who} got no gradient: {title}",
        f"The value is computed and tracked, but its last use is at {place(location)}; the result "
        "is dropped there or goes somewhere else than into the loss that backward() was called "
        f"on.{note}",
        _cure(case, op, location, name),
        subjects=subjects,
        locations=[location, *seconds],
        path=path_to(case, serials[0], set(), 0),
        backward=1,
        backwards=len(case.expected.judged_in.get(serials[0], ())),
    )


def _called(case: Case, op: OpRow, location: Location | None) -> str:
    """The variable that holds the dropped result; empty where the statement keeps none."""
    frame = case.places.kept_at(op.frame)
    return case.places.target_at(frame) if frame is not None and location is not None else ""


def _cure(case: Case, op: OpRow, location: Location | None, name: str) -> str:
    """The smallest edit, by what the statement does with its result."""
    if name and _is_scalar(case, op):
        return f"add `{name}` to the loss that backward() is called on, or call `{name}.backward()`"
    if name:
        return f"use `{name}` in what the loss is computed from"
    code = case.places.code(location.file) if location is not None else None
    statement = code.statement(location.line) if code is not None and location is not None else None
    call = statement.value if isinstance(statement, ast.Expr) else None
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
        text = ast.unparse(call)
        owner = ast.unparse(call.func.value)
        if owner.isidentifier() and owner not in ("torch", "F"):
            return f"assign the result: `{owner} = {text}` (the method returns a new tensor)"
        return f"assign the result of `{text}`, and use it in what the loss is computed from"
    return "use the result of this line in what the loss is computed from"
