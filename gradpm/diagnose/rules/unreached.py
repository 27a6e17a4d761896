"""GP106 and GP107: used by no op, or by none whose result went on to the loss."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from gradpm.diagnose.case import Case
from gradpm.diagnose.facts import OpRow
from gradpm.diagnose.finding import Location, Severity, Subject
from gradpm.diagnose.flow import is_use
from gradpm.diagnose.paths import path_to
from gradpm.diagnose.places import assigned
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
        if any(flow.roots[n].tracked & flow.bit[serial] for n in numbers if n in flow.roots):
            continue  # tracked to the loss: another rule's matter
        touch, row = flow.touched[serial], -1
        if touch.last_tracked < 0:
            code, location = "GP106", _created(case, serial)
        else:
            code, row = "GP107", dead_end_row(case, serial)
            row = touch.last_tracked if row < 0 else row
            location = dropped_at(case, row)
        key = (code, location.file, location.line) if location else (code, "", 0)
        groups.setdefault(key, Group(code, location, row)).serials.append(serial)
    for group in groups.values():
        if group.code == "GP106":
            _tell_unused(case, group)
        else:
            tell_off_path(case, group)


# -- where it was made ------------------------------------------------------------


def _created(case: Case, serial: int) -> Location | None:
    """The line that made it: the innermost that made nothing but parameters like it.

    A factory's own line made the healthy ones too; its caller tells which is meant.
    Where a whole module was never used, the line that made the module is meant.
    """
    leaf = case.trace.leaves.get(serial)
    if leaf is None:
        return None
    frames = case.places.user_frames(leaf.frame)
    frames = frames[_outside_unused(case, serial) :]
    fine = _lines_of_used(case)
    for frame in frames:
        if (frame.path, frame.line) not in fine:
            return case.places.at(frame, "created")
    return case.places.at(frames[0], "created") if frames else None


def _outside_unused(case: Case, serial: int) -> int:
    """How many frames belong to the making of modules of which nothing was ever used.

    `self.fc = ...` inside the class of `model.gate.fc` stands for the module before
    `fc` in the name: if all of `model.gate` is unused, who made the gate is asked.
    """
    frames = case.places.user_frames(case.trace.leaves[serial].frame)
    parts = case.trace.name(serial).split(".")
    outside = 0
    for index, frame in enumerate(frames[:-1]):
        target = case.places.target_at(frame).rsplit(".", 1)[-1]
        if not target or target not in parts:
            continue
        at = len(parts) - 1 - parts[::-1].index(target)
        if not at or not _all_unused(case, ".".join(parts[:at])):
            break
        parts, outside = parts[:at], index + 1
    return outside


def _all_unused(case: Case, prefix: str) -> bool:
    """Whether no op ever used any parameter under a module's name."""
    flow = case.flow
    return not any(
        flow.touched[serial].uses
        for serial in case.facts.parameters
        if serial in flow.touched and case.trace.name(serial).startswith(prefix + ".")
    )


def _lines_of_used(case: Case) -> set[tuple[str, int]]:
    """Every line on the stacks of parameters that did get a gradient."""
    leaves = case.trace.leaves
    return {
        (frame.path, frame.line)
        for serial in case.expected.received
        if serial in leaves
        for frame in case.places.user_frames(leaves[serial].frame)
    }


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
    facts, flow = case.facts, case.flow
    bit = flow.bit[serial]
    roots = {root for call in facts.backwards for root in call.roots}
    rows = [
        row
        for row in dead_ends(case, serial)
        if facts.op(row).id <= flow.horizon and _is_scalar(case, facts.op(row))
        if any(flow.tracked.get(out, 0) & bit and out not in roots for out in facts.op(row).outs)
    ]
    if not rows:
        return -1
    name = case.places.received_by(facts.op(max(rows)).frame)
    return max(rows) if "loss" in name.lower() else -1


def _is_scalar(case: Case, op: OpRow) -> bool:
    return bool(op.specs) and not case.trace.spec(op.specs[0]).shape


# -- the words ------------------------------------------------------------------------


def _tell_unused(case: Case, group: Group) -> None:
    serials, location = group.serials, group.location
    subjects = case.words.parameters(serials)
    who = case.words.who(subjects, serials)
    one = len(subjects) == 1
    it = "it" if one else "them"
    owned = all(serial in case.expected.owned for serial in serials)
    given = "registered and given to the optimizer" if owned else "made to learn"
    case.finding(
        "GP106",
        Severity.WARNING,
        f"{who} took part in no op of the forward: created at {place(location)}, never used",
        f"{who[0].upper() + who[1:]} {'is' if one else 'are'} {given}, but no op that autograd "
        f"records ever took {it} as input, so no backward can reach {it}.",
        _use_it(case, subjects, serials, location),
        subjects=subjects,
        locations=[location],
        path=path_to(case, serials[0], set(), 0),
        backward=1,
        backwards=len(case.expected.judged_in.get(serials[0], ())),
    )


def _use_it(
    case: Case, subjects: tuple[Subject, ...], serials: list[int], location: Location | None
) -> str:
    """What to call, or what to use, in the forward."""
    module = case.words.root_module(serials)
    if module and _all_unused(case, module):
        while "." in module and _all_unused(case, module.rpartition(".")[0]):
            module = module.rpartition(".")[0]
        return f"call `{module}` in the forward, or remove it"
    code = case.places.code(location.file) if location is not None else None
    statement = code.statement(location.line) if code is not None and location is not None else None
    made = assigned(statement) if statement is not None else ""
    if made and len(subjects) > 1 and all(made in s.name.split(".") for s in subjects):
        return f"call `{made}` in the forward, or remove it"
    names = " and ".join(f"`{subject.name}`" for subject in subjects[:2])
    return f"use {names if len(subjects) <= 2 else 'them'} in the forward, or remove " + (
        "it" if len(subjects) == 1 else "them"
    )


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
