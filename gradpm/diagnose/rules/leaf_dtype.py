"""GP210: requires_grad was asked of a tensor that holds integers."""

from __future__ import annotations

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location, Subject
from gradpm.diagnose.origins import origin_rows
from gradpm.diagnose.raised import Raised
from gradpm.diagnose.words import place

SAYS = (
    "Only Tensors of floating point and complex dtype can require gradients",
    "only Tensors of floating point dtype can require gradients",
    "only Tensors of floating point and complex dtype can require gradients",
)


def find(case: Case) -> None:
    """The first refusal at each line."""
    for raised in case.raised:
        if not raised.taken and any(s.lower() in raised.message.lower() for s in SAYS):
            raised.taken = True
            _tell(case, raised)


def _tell(case: Case, raised: Raised) -> None:
    frame = case.places.frame(raised.error.frame)
    culprit = case.places.at(frame, "culprit")
    operand = next((entry for entry in raised.operands if entry.get("serial")), None)
    serial = int(operand["serial"]) if operand is not None else 0
    subject = _subject(case, raised, serial)
    dtype = subject.dtype or "an integer type"
    seconds = _origins(case, serial)
    made = f" It became {dtype} at {place(seconds[0])}." if seconds else ""
    name = subject.name
    case.finding(
        "GP210",
        raised.mildly,
        f"`{name}` holds integers ({dtype}) and cannot require grad: asked at {place(culprit)}",
        f"A gradient is a small change of a value, and {dtype} values cannot change by a small "
        f"amount, so torch refuses requires_grad for `{name}` at {place(culprit)}.{made}"
        f"{raised.end}",
        _fix(seconds, name),
        subjects=[subject],
        locations=[culprit, *seconds],
        backward=None,
    )


def _subject(case: Case, raised: Raised, serial: int) -> Subject:
    """The tensor by the name that the refusing line assigns it to, or by its own."""
    frame = case.places.frame(raised.error.frame)
    target = case.places.target_at(frame) if frame is not None else ""
    if not serial:
        return Subject("tensor", target or "the new tensor", None, "", 0)
    subject = case.called.subject(serial, frame)
    own = "requires_grad" in (raised.op.name if raised.op is not None else "")
    name = subject.name if own or not target else target
    return Subject(subject.kind, name, subject.shape, subject.dtype, serial)


def _origins(case: Case, serial: int) -> list[Location]:
    """Where the integers came from, the oldest line first."""
    found = []
    for row in reversed(origin_rows(case, serial, "dtype")):
        place_ = case.places.of(case.facts.op(row).frame, "made")
        if place_ is not None:
            found.append(place_)
    return found[:3]


def _fix(seconds: list[Location], name: str) -> str:
    where = f" at {place(seconds[0])}" if seconds else ""
    return (
        f"make `{name}` floating-point where it is made{where}: dtype=torch.float32, `1.0` instead "
        f"of `1`, or `{name}.float()` before requires_grad"
    )
