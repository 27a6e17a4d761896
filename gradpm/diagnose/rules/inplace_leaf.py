"""GP203: a leaf that requires grad, or a view of one, was modified in place."""

from __future__ import annotations

from typing import Any

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location, Step
from gradpm.diagnose.raised import Raised
from gradpm.diagnose.words import place, spoken

SAYS = ("a leaf Variable that requires grad", "a view of a leaf Variable that requires grad")


def find(case: Case) -> None:
    """Each line at which torch refused it."""
    for raised in case.raised:
        if any(words in raised.message for words in SAYS) and not raised.taken:
            raised.taken = True
            if raised.op is not None:
                _tell(case, raised)


def leaf_of(case: Case, raised: Raised) -> int:
    """The serial of the leaf: the first operand that is one, or whose base is."""
    for operand in raised.operands:
        if not operand.get("requires"):
            continue
        if operand.get("leaf"):
            return int(operand.get("serial") or 0)
        base = int(operand.get("base") or 0)
        if base and _is_leaf(case, base):
            return base
    targets = raised.op.ins[:1] if raised.op is not None else ()
    return case.memory.root(targets[0]) if targets else 0


def _is_leaf(case: Case, serial: int) -> bool:
    return serial in case.trace.leaves


def _through(case: Case, raised: Raised, leaf: int) -> str:
    """` through a view of it (indexing)` when the op got a view."""
    targets = raised.op.ins[:1] if raised.op is not None else ()
    if not targets or targets[0] == leaf:
        return ""
    rows = case.memory.way(targets[0])
    kind = f" ({spoken(case.facts.op(rows[0]))})" if rows else ""
    return f" through a view of it{kind}"


def created(case: Case, leaf: int) -> Location | None:
    """Where a leaf was made."""
    known = case.trace.leaves.get(leaf)
    maker = case.facts.makers.get(leaf) if leaf > 0 else None
    if maker is not None:
        return case.places.of(case.facts.op(maker).frame, "created")
    return case.places.of(known.frame, "created") if known is not None else None


def _tell(case: Case, raised: Raised) -> None:
    op = raised.op
    assert op is not None
    frame = case.places.frame(op.frame)
    culprit = case.places.at(frame, "culprit")
    leaf = leaf_of(case, raised)
    subject = case.called.subject(leaf, frame)
    name = subject.name
    through = _through(case, raised, leaf)
    what = spoken(op)
    case.finding(
        "GP203",
        raised.severity,
        f"`{name}` is a leaf that requires grad, and {what} at {place(culprit)} modified it in "
        "place",
        f"`{name}` is a leaf: its value is where the gradient is taken. While autograd records, "
        f"torch refuses to let {what} at {place(culprit)} overwrite it{through}; nothing was "
        f"changed.{raised.end}",
        _fix(case, raised, name),
        subjects=[subject],
        locations=[culprit, created(case, leaf)],
        path=[
            Step("parameter", name, str(list(subject.shape or ())), created(case, leaf)),
            Step("cut", what.strip("`"), "refused: in place on a leaf", culprit, op.id),
        ],
        backward=len(case.facts.backwards) or None,
        backwards=len(case.facts.backwards),
    )


def _fix(case: Case, raised: Raised, name: str) -> str:
    operands: list[Any] = raised.operands[1:]
    tracked = any(operand.get("requires") for operand in operands)
    if tracked:
        return (
            f"if the result is to be part of the graph, make a new tensor instead of writing into "
            f"`{name}`; if it is an update or initialisation, put the line under "
            "`with torch.no_grad():`"
        )
    return f"put this line under `with torch.no_grad():`: it updates `{name}`, it is no forward op"
