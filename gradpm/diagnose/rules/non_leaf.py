"""GP108: `.grad` of a tensor that is no leaf: it has none and never will."""

from __future__ import annotations

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location, Severity, Step
from gradpm.diagnose.op_names import NO_VALUE
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.words import place, spoken
from gradpm.trace.schema import FileKind, Op


def find(case: Case) -> None:
    """Reads of `.grad` that gave None, and optimizers that refused a non-leaf."""
    for serial, frame in _refused(case):
        _tell(case, serial, frame, "the optimizer refused it")
    for serial, frame in _reads(case):
        if serial not in case.explained:
            _tell(case, serial, frame, "its `.grad` was read and is None")


def _refused(case: Case) -> list[tuple[int, int]]:
    found = []
    for event in case.trace.events:
        if event.kind == "optimizer.refused":
            for serial in event.detail.get("non_leaves") or ():
                if isinstance(serial, int):
                    found.append((serial, event.frame))
    return found


def _reads(case: Case) -> list[tuple[int, int]]:
    """(serial, frame) of the user's own reads of a non-leaf's `.grad` that gave None."""
    found: dict[str, tuple[int, int]] = {}
    for op in case.facts.empty_reads:
        if not _is_user(case, op.frame):
            continue
        serial = op.ins[0]
        maker = case.facts.makers.get(serial)
        if maker is None or not _is_non_leaf(case.facts.op(maker), serial):
            continue
        if _retained(case, serial) or not _could_receive(case, maker, op):
            continue
        made = case.places.of(case.facts.op(maker).frame, "culprit")
        key = f"{made.file}:{made.line}" if made is not None else str(serial)
        found.setdefault(key, (serial, op.frame))
    return list(found.values())


def _is_user(case: Case, frame: int) -> bool:
    stack = case.trace.stack(frame)
    return bool(stack) and stack[0].kind is FileKind.USER


def _is_non_leaf(op: OpRow, serial: int) -> bool:
    if op.has(Op.UNSEEN) or serial not in op.outs:
        return False
    at = op.outs.index(serial)
    return op.requires(at) and not op.is_leaf(at)


def _could_receive(case: Case, maker: int, read: OpRow) -> bool:
    """Whether a backward ran between its making and the read.

    A parametrized layer computes its `weight` anew at every read: that one was never in
    any loss, and what its `.grad` is says nothing.
    """
    made = case.facts.op(maker).id
    return any(
        not call.is_grad_call and made <= call.op <= read.id for call in case.facts.backwards
    )


def _retained(case: Case, serial: int) -> bool:
    return any(case.facts.op(row).name == "retain_grad" for row in case.facts.users.get(serial, ()))


def origin(case: Case, serial: int) -> OpRow | None:
    """The op that turned a leaf the user made into this non-leaf: the first one after a leaf."""
    facts = case.facts
    row = facts.makers.get(serial)
    best = facts.op(row) if row is not None else None
    return best


def _is_leaf(case: Case, serial: int) -> bool:
    row = case.facts.makers.get(serial)
    op = case.facts.op(row) if row is not None else None
    return op is not None and serial in op.outs and op.is_leaf(op.outs.index(serial))


def _cure(case: Case, op: OpRow, name: str, symptom: str) -> str:
    """For what was meant as a leaf: make it one; for what is between: keep its gradient."""
    of_leaf = any(serial in case.trace.leaves or _is_leaf(case, serial) for serial in op.ins)
    if of_leaf or "refused" in symptom:
        return (
            "do the computing first and make the result the leaf: "
            f"`{name} = (...).detach().requires_grad_()`"
            + ("" if "refused" in symptom else f"; `{name}.retain_grad()` keeps a copy here")
        )
    return f"call `{name}.retain_grad()` before backward()"


def _tell(case: Case, serial: int, frame: int, symptom: str) -> None:
    op = origin(case, serial)
    if op is None or op.name in NO_VALUE:
        return
    subject = case.words.tensor(serial)
    culprit: Location | None = case.places.of(op.frame, "culprit")
    read = case.places.of(frame, "read")
    fatal = case.uncaught is not None
    names = [case.words.tensor_name(serial) for serial in op.ins]
    leaf = next((name for name in names if name != subject.name), "the tensor")
    if "`" not in leaf and " " not in leaf:  # one without a name is told by its op
        leaf = f"`{leaf}`"
    case.finding(
        "GP108",
        Severity.ERROR if fatal or not case.facts.optimizers else Severity.WARNING,
        f"`{subject.name}` is no leaf: {spoken(op)} at {place(culprit)} made it from another "
        f"tensor, and {symptom}",
        f"autograd fills `.grad` only on leaves. `{subject.name}` is the result of {spoken(op)} "
        f"at {place(culprit)}, so the gradient goes on to {leaf} behind it and `.grad` stays "
        "None here.",
        _cure(case, op, subject.name, symptom),
        subjects=[subject],
        locations=[culprit, read],
        path=[
            Step("op", spoken(op).strip("`"), subject.name, culprit, op.id),
            Step("read", ".grad", "None", read),
        ],
        backward=1 if case.facts.backwards else None,
        backwards=len(case.facts.backwards),
    )
