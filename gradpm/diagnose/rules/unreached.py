"""GP106 and GP107: used by no op, or by none whose result went on to the loss."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location, Severity
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.paths import path_to
from gradpm.diagnose.rules import unused
from gradpm.diagnose.words import place


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
    return case.ends.last(serial)


def dead_ends(case: Case, serial: int) -> list[int]:
    """The rows of all such ops."""
    return case.ends.all(serial)


def dropped_at(case: Case, row: int) -> Location | None:
    """The line at which an op's result goes nowhere: followed out of functions that return it."""
    return case.places.at(case.places.kept_at(case.facts.op(row).frame), "culprit")


def forgotten_loss(case: Case, serial: int) -> int:
    """The row of a scalar made of this parameter on which backward() was never called; else -1.

    A stop-gradient on the way to one loss is no cut where another loss is there to
    teach the parameter: what is missing is that loss's backward(). It must be called
    a loss by its variable: a metric that is only printed is none.
    """
    row = _forgotten_row(case, serial)
    if row < 0:
        return -1
    name = case.places.received_by(case.facts.op(row).frame)
    return row if "loss" in name.lower() else -1


def _forgotten_row(case: Case, serial: int) -> int:
    """The last scalar made of it that nothing took further, and that still holds its history."""
    ends, scalars = case.ends, case.ends.scalars
    if not ends.is_made(serial):
        row = ends.last_behind(serial, ends.behind_scalars)
        if row < 0 or _holds(case, scalars[row], serial):
            return row
    mine = {row for row, outs in scalars.items() if _holds(case, outs, serial)}
    return max(mine.intersection(ends.all(serial)), default=-1) if mine else -1


def _holds(case: Case, outs: tuple[int, ...], serial: int) -> bool:
    flow = case.flow
    return any(flow.tracked.get(out, 0) & flow.bit[serial] for out in outs)


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
