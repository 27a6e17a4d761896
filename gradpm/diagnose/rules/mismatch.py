"""GP215: an op got operands whose shapes, types or devices do not go together."""

from __future__ import annotations

import re

from gradpm.diagnose.case import Case
from gradpm.diagnose.facts import OpRow
from gradpm.diagnose.failed_node import failed_node, op_behind
from gradpm.diagnose.finding import Location, Severity, Step, Subject
from gradpm.diagnose.origins import origin_places
from gradpm.diagnose.raised import Raised, in_backward
from gradpm.diagnose.words import place, spoken
from gradpm.trace.schema import Op

TYPES = frozenset("RuntimeError ValueError TypeError IndexError NotImplementedError".split())
DTYPE = re.compile(
    r"dtype|scalar type|expected \w*(?:Long|Float|Int|Double|Half|Byte|Bool)\b|Found dtype|"
    r"must have the same type|should be the same|not implemented for '",
    re.I,
)
NONE = "NoneType"  # a gradient that never came: another matter
DEVICE = re.compile(r"device|meta tensor|is on cpu|cuda:", re.I)


def find(case: Case) -> None:
    """What ended the program in a torch op and no other rule has explained."""
    for raised in case.raised:
        if (
            raised.taken
            or not raised.fatal
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


def property_of(message: str) -> str:
    """Which property of the operands torch complains of."""
    if DEVICE.search(message) and not re.search(r"dtype", message):
        return "device"
    return "dtype" if DTYPE.search(message) else "shape"


def _operands(case: Case, raised: Raised, op: OpRow) -> list[Subject]:
    """The tensors that the op got, each once, with their types."""
    frame = case.places.frame(op.frame)
    found: dict[int, Subject] = {}
    for serial in op.ins:
        if serial and serial not in found:
            found[serial] = case.called.subject(serial, frame)
    return list(found.values())


def _told(case: Case, subject: Subject, what: str) -> str:
    spec = case.facts.spec_of(subject.serial)
    detail = {"device": spec.device, "dtype": spec.dtype}.get(what, str(list(spec.shape)))
    return f"`{subject.name}` {detail}"


def _tell(case: Case, raised: Raised, op: OpRow) -> None:
    frame = case.places.frame(op.frame)
    culprit = case.places.at(frame, "culprit")
    what = property_of(raised.message)
    operands = _operands(case, raised, op)
    odd = _odd_first(case, operands, what)
    origins = _origins(case, odd, what, culprit)
    told = ", ".join(_told(case, subject, what) for subject in operands[:4])
    first = raised.message.strip().split("\n")[0][:200]
    label = spoken(op)
    late = raised.call is not None and not in_backward(raised)
    at = case.places.of(raised.call.frame, "backward") if raised.call is not None else None
    when = f" The forward let it pass; backward() at {place(at)} did not." if late else ""
    from_ = "; ".join(f"`{name}` comes from {place(at_)}" for name, at_ in origins[:3])
    case.finding(
        "GP215",
        Severity.ERROR,
        f"{label} at {place(culprit)} got operands that do not go together: {first}",
        f"{label} at {place(culprit)} was given {told or 'no tensor'}. torch says: {first}.{when}"
        + (f" {from_[0].upper() + from_[1:]}." if from_ else ""),
        _fix(case, odd, operands, what, origins),
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


def _odd_first(case: Case, operands: list[Subject], what: str) -> list[Subject]:
    """The operands, those that differ from what most have first; inputs before parameters."""
    if what == "shape" or len(operands) < 2:
        return sorted(operands, key=lambda subject: subject.kind != "parameter")
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


def _fix(
    case: Case,
    odd: list[Subject],
    operands: list[Subject],
    what: str,
    origins: list[tuple[str, Location]],
) -> str:
    if not odd:
        return "give the op what its documentation asks for"
    first = odd[0]
    where = f" at {place(origins[0][1])}" if origins else ""
    other = next((s for s in operands if s.serial != first.serial), None)
    if what == "dtype":
        wanted = f".to({other.name}.dtype)" if other is not None else ".float()"
        return (
            f"bring `{first.name}` to the type that is wanted{where}: `{first.name}{wanted}`, or "
            "`.long()` where it holds class indices"
        )
    if what == "device":
        return (
            f"move `{first.name}` where the others are{where}: `.to(device)`; register a constant "
            "of a module as a buffer so that it moves along"
        )
    shapes = " and ".join(_told(case, subject, "shape") for subject in odd[:2])
    return f"make the sizes agree: {shapes}{where and ' (from' + where[3:] + ')'}"
