"""GP215: an op got operands whose shapes, types or devices do not go together."""

from __future__ import annotations

import ast
import re

from gradpm.diagnose.case import Case
from gradpm.diagnose.failed_node import failed_node, op_behind
from gradpm.diagnose.finding import Location, Severity, Step, Subject
from gradpm.diagnose.mismatch_cures import LOSSES, cure_of_mismatch, told
from gradpm.diagnose.operands import inside_torch, mentioned, operands_of
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.origins import origin_places
from gradpm.diagnose.raised import Raised, in_backward
from gradpm.diagnose.words import place, quoted, sentence, spoken
from gradpm.trace.model import Frame
from gradpm.trace.schema import Op, Table

TYPES = frozenset(
    "RuntimeError ValueError TypeError IndexError NotImplementedError AssertionError".split()
)
DTYPE = re.compile(
    r"dtype|scalar type|expected \w*(?:Long|Float|Int|Double|Half|Byte|Bool)\b|Found dtype|"
    r"must have the same type|should be the same|not implemented for '",
    re.I,
)
TARGET = re.compile(r"\btarget\b", re.I)
NONE = "NoneType"  # a gradient that never came: another matter
DEVICE = re.compile(r"device|meta tensor|is on cpu|cuda:", re.I)


def find(case: Case) -> None:
    """What ended the program, or each round of its loop, and no other rule has explained."""
    for raised in case.raised:
        if (
            raised.taken
            or not (raised.fatal or _in_every_round(case, raised))
            or raised.error.type not in TYPES
            or NONE in raised.message
        ):
            continue
        op = raised.op
        if op is None and raised.call is not None:
            op = op_behind(case, raised, failed_node(case, raised))
        if op is not None and op.name != "Parameter":
            raised.taken = True
            _tell(case, raised, op)
            return
        function = inside_torch(case, raised.error.frame)
        if function and raised.call is None:
            raised.taken = True
            _tell_refused(case, raised, function)
            return


def _in_every_round(case: Case, raised: Raised) -> bool:
    """Swallowed, and yet no probe: the line fails each time, and what learns went into it."""
    op = raised.op
    if op is None or raised.severity is not Severity.WARNING or not op.has(Op.GRAD_ENABLED):
        return False
    frame = case.places.frame(op.frame)
    failed = [r for r in case.raised if r.op is not None and r.op.frame == op.frame]
    ran = [
        row
        for row, stack in enumerate(case.trace.table(Table.OP)["frame"])
        if stack == op.frame and case.trace.op_name(row) == op.name
    ]
    went_well = any(not case.facts.op(row).has(Op.RAISED) for row in ran)
    return frame is not None and len(failed) > 1 and not went_well


def property_of(message: str) -> str:
    """Which property of the operands torch complains of."""
    if DEVICE.search(message) and not re.search(r"dtype", message):
        return "device"
    return "dtype" if DTYPE.search(message) else "shape"


def _tell(case: Case, raised: Raised, op: OpRow) -> None:
    frame = case.places.frame(op.frame)
    culprit = case.places.at(frame, "culprit")
    what = property_of(raised.message)
    operands = operands_of(case, op)
    odd = _odd_first(case, raised, op, operands, what)
    origins = _origins(case, odd, what, culprit)
    given = ", ".join(told(case, subject, what) for subject in operands[:4])
    first = _said(raised)
    label = spoken(op)
    together = "got operands that do not go together"
    verdict = together if len(operands) > 1 else "refused its input"
    late = raised.call is not None and not in_backward(raised)
    at = case.places.of(raised.call.frame, "backward") if raised.call is not None else None
    when = f" The forward let it pass; backward() at {place(at)} did not." if late else ""
    from_ = _told_origins(origins)
    case.finding(
        "GP215",
        raised.severity,
        f"{sentence(label)} at {place(culprit)} {verdict}: {first}",
        f"{sentence(label)} at {place(culprit)} was given {given or 'no tensor'}. torch says: "
        f"{first}.{when}{from_}{raised.end}",
        cure_of_mismatch(case, op, raised, odd, what, origins),
        subjects=operands[:6],
        locations=[
            culprit,
            *(location for _, location in origins),
            *_applied(case, raised, op),
            at,
        ],
        path=[
            *(Step("op", name, "", location) for name, location in origins[:4]),
            Step("cut", label.strip("`"), first[:80], culprit, op.id),
        ],
        backward=raised.number,
        backwards=1 if raised.call is not None else 0,
    )


def _odd_first(
    case: Case, raised: Raised, op: OpRow, operands: list[Subject], what: str
) -> list[Subject]:
    """The operands, those that differ from what most have first; inputs before parameters."""
    if what == "shape" or len(operands) < 2:
        return sorted(operands, key=lambda subject: subject.kind == "parameter")
    if TARGET.search(raised.message) or (op.name in LOSSES and what == "dtype"):
        return sorted(operands, key=lambda subject: subject.serial != op.ins[1])
    values = [_value(case, subject, what) for subject in operands]
    common = max(set(values), key=lambda value: (values.count(value), -_oddness(value)))
    return sorted(operands, key=lambda subject: _value(case, subject, what) == common)


def _value(case: Case, subject: Subject, what: str) -> str:
    spec = case.facts.spec_of(subject.serial)
    return spec.device if what == "device" else spec.dtype


def _oddness(value: str) -> int:
    """float32 and the accelerator are what most programs mean; meta holds nothing at all."""
    if value == "float32" or value.startswith("cuda"):
        return 0
    return 2 if value == "meta" else 1


def _origins(
    case: Case, operands: list[Subject], what: str, culprit: Location | None
) -> list[tuple[str, Location]]:
    """(operand's name, where its property came from), at most six lines, the culprit's left out."""
    found: list[tuple[str, Location]] = []
    for subject in operands[:4]:
        for location in origin_places(case, subject.serial, what, "comes from", 3, culprit):
            if all((o.file, o.line) != (location.file, location.line) for _, o in found):
                found.append((subject.name, location))
    return found[:6]


def _applied(case: Case, raised: Raised, op: OpRow) -> list[Location]:
    """For an error in a custom backward: the apply of that Function, by the frames' function."""
    if not op.has(Op.IN_BACKWARD):
        return []
    inside = {frame.function.rsplit(".", 1)[0] for frame in case.places.user_frames(op.frame)}
    for row in range(op.row - 1, -1, -1):
        other = case.facts.op(row)
        if other.has(Op.FUNCTION) and other.name.removesuffix(".apply") in inside:
            found = case.places.of(other.frame, "applied")
            return [found] if found is not None else []
    return []


def _said(raised: Raised) -> str:
    """Torch's own sentence, its first line."""
    return raised.message.strip().split("\n")[0][:200].rstrip(".!")


def _told_origins(origins: list[tuple[str, Location]]) -> str:
    """` `x` comes from a.py:3 and a.py:2; `y` from a.py:5.`"""
    by_name: dict[str, list[str]] = {}
    for name, at in origins[:4]:
        by_name.setdefault(name, []).append(place(at))
    told = [f"{quoted(name)} comes from {' and '.join(at)}" for name, at in by_name.items()]
    return f" {sentence('; '.join(told))}." if told else ""


def _called(case: Case, frame: Frame | None) -> str:
    """The module as the line calls it: `self.lstm`."""
    call = case.places.expression(frame)
    if frame is None or not isinstance(call, ast.Call):
        return ""
    return case.places.spelled(frame.path, call.func)


def _tell_refused(case: Case, raised: Raised, function: str) -> None:
    """A module of torch's looked at its input and refused it before any op ran."""
    frame = case.places.frame(raised.error.frame)
    culprit = case.places.at(frame, "culprit")
    operands = mentioned(case, frame) if frame is not None else []
    origins = _origins(case, operands, "shape", culprit)
    given = " and ".join(told(case, subject, "shape") for subject in operands[:3])
    module = _called(case, frame) or function.split(".")[0]
    case.finding(
        "GP215",
        Severity.ERROR,
        f"`{module}` at {place(culprit)} refused its input: {_said(raised)}",
        f"`{module}`, called at {place(culprit)}, checks what it is given"
        + (f", here {given}," if given else "")
        + f" and raised in `{function}`: {_said(raised)}."
        + _told_origins(origins),
        f"bring the input to the shape that `{module}` expects"
        + (f", at {place(origins[0][1])} or before the call" if origins else ""),
        subjects=operands[:6],
        locations=[culprit, *(location for _, location in origins)],
        path=[
            *(Step("op", name, "", location) for name, location in origins[:4]),
            Step("cut", module, _said(raised)[:80], culprit),
        ],
        backward=None,
        backwards=0,
    )
