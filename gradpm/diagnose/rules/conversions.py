"""GP211 and GP212: numpy() of, or deepcopy of, a tensor that is part of a graph."""

from __future__ import annotations

import ast

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location, Step, Subject
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.origins import origin_places
from gradpm.diagnose.raised import Raised
from gradpm.diagnose.statements import variable
from gradpm.diagnose.words import place, spoken
from gradpm.trace.model import Frame

NUMPY = ("Can't call numpy() on Tensor that requires grad", "that requires grad. Use tensor.detach")
COPY = "support the deepcopy protocol"


def find(case: Case) -> None:
    """The first refusal of each kind at each line."""
    for raised in case.raised:
        if raised.taken or raised.op is None:
            continue
        if any(words in raised.message for words in NUMPY):
            raised.taken = True
            _tell_numpy(case, raised, raised.op)
        elif COPY in raised.message:
            raised.taken = True
            _tell_copy(case, raised, raised.op)


def _tell_numpy(case: Case, raised: Raised, op: OpRow) -> None:
    serial = op.ins[0] if op.ins else 0
    frame = case.places.frame(op.frame)
    culprit = case.places.at(frame, "culprit")
    subject = case.called.subject(serial, frame)
    origins = origin_places(case, serial, "dtype", "made")
    made = case.facts.makers.get(serial)
    nearest = case.places.of(case.facts.op(made).frame, "made") if made is not None else None
    name = subject.name
    case.finding(
        "GP211",
        raised.mildly,
        f"`{name}` requires grad and cannot become a numpy array at {place(culprit)}",
        f"`{name}` {list(subject.shape or ())}, made at {place(nearest)}, carries its history; a "
        f"numpy array cannot, so the conversion at {place(culprit)} would lose it silently and "
        f"torch refuses.{raised.end}",
        _numpy_cure(case, serial, name, nearest),
        subjects=[subject],
        locations=[culprit, nearest, *_callers(case, made), *origins],
        path=[
            Step("op", spoken(case.facts.op(made)).strip("`") if made is not None else "made",
                 name, nearest),
            Step("cut", spoken(op).strip("`"), "refused: would lose the graph", culprit, op.id),
        ],
        backward=len(case.facts.backwards) or None,
    )  # fmt: skip


def _numpy_cure(case: Case, serial: int, name: str, made: Location | None) -> str:
    if serial < 0:
        return f"`{name}.detach().numpy()`"
    holder = case.called.holder(serial)
    if holder and holder.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1]:
        return (
            f"keep what `{holder}` is to hold without its history, `.detach()` or `.item()`, when "
            f"it is put in (it is made at {place(made)})"
        )
    return (
        f"if no gradient is needed here: `{name}.detach().numpy()` (better: detach it where it is "
        f"kept, at {place(made)})"
    )


def _callers(case: Case, row: int | None) -> list[Location]:
    """The calls through which the value was returned to where it is converted."""
    if row is None:
        return []
    users = case.places.user_frames(case.facts.op(row).frame)
    found = [case.places.at(frame, "called from") for frame in users[1:3]]
    return [location for location in found if location is not None]


def _tell_copy(case: Case, raised: Raised, op: OpRow) -> None:
    serial = op.ins[0] if op.ins else 0
    copied_at = case.places.of(op.frame, "deepcopy")
    subject = case.called.subject(serial)
    name = subject.name
    culprit = _put_in(case, serial, name)
    short = name.rsplit(".", 1)[-1]
    case.finding(
        "GP212",
        raised.mildly,
        f"`{name}` is no leaf, and deepcopy at {place(copied_at)} cannot copy it: it was stored at "
        f"{place(culprit)}",
        f"`{name}` {list(subject.shape or ())} was computed and stored at {place(culprit)} with "
        f"its whole graph. deepcopy at {place(copied_at)} copies everything the object holds, and "
        f"torch copies only leaves: a copy of a result would have no history.{raised.end}",
        f"store `{short}.detach()` at {place(culprit)}, or do not keep it on the object that is "
        "copied",
        subjects=[Subject(subject.kind, name, subject.shape, subject.dtype, serial)],
        locations=[culprit, copied_at, _made_at(case, serial)],
        path=[
            Step("op", "stored", name, culprit),
            Step("cut", "deepcopy", "refused: not a leaf", copied_at, op.id),
        ],
        backward=len(case.facts.backwards) or None,
    )


def _made_at(case: Case, serial: int) -> Location | None:
    row = case.facts.makers.get(serial)
    return case.places.of(case.facts.op(row).frame, "made") if row is not None else None


def _put_in(case: Case, serial: int, name: str) -> Location | None:
    """The statement that stored it: on the way out from its maker, else by name in the source."""
    row = case.facts.makers.get(serial)
    if row is None:
        return None
    short = name.rsplit(".", 1)[-1]
    frames = case.places.user_frames(case.facts.op(row).frame)
    for frame in frames:
        statement = case.places.code(frame.path).statement(frame.line)
        if statement is not None and _stores(statement, short):
            return case.places.at(frame, "culprit")
    for frame in frames:
        found = _in_source(case, frame, short)
        if found is not None:
            return found
    return case.places.at(frames[0] if frames else None, "culprit")


def _stores(statement: ast.stmt, name: str) -> bool:
    """`self.name = ...`, `holder[...] = ...` or `self.name.append(...)`."""
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        for target in statement.targets:
            targets += target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]
    elif isinstance(statement, (ast.AnnAssign, ast.AugAssign)):
        targets = [statement.target]
    elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        called = statement.value.func
        if isinstance(called, ast.Attribute) and called.attr in ("append", "extend", "setdefault"):
            return variable(called.value).rsplit(".", 1)[-1] == name
    return any(
        isinstance(target, (ast.Attribute, ast.Subscript))
        and variable(target).rsplit(".", 1)[-1] == name
        for target in targets
    )


def _in_source(case: Case, frame: Frame, name: str) -> Location | None:
    """The last statement of the file before anything else that stores under this name."""
    code = case.places.code(frame.path)
    lines = [s.lineno for s in code.statements if _stores(s, name)]
    after = [line for line in lines if line >= frame.line] or lines
    return case.places.line(frame.path, min(after), "culprit", frame.function) if after else None
