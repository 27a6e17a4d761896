"""Where the first number that is not finite was born, when the loss is not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from gradpm.diagnose.ancestry import ancestors
from gradpm.diagnose.backwards import Backward
from gradpm.diagnose.case import Case
from gradpm.diagnose.cures import DIVISION, LOG, MEAN, MULTIPLYING, SOFTMAX, Cure, cure_of
from gradpm.diagnose.finding import Location
from gradpm.diagnose.known import Known, known_behind
from gradpm.diagnose.op_names import VIEWS
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.origin import (
    CONVERTING,
    FILLING,
    LARGEST,
    LAYERS,
    MASKING,
    may_be,
    origin_of,
    scalar_by,
    verdict_on,
)
from gradpm.diagnose.words import place, spoken
from gradpm.trace.schema import LeafKind

FARTHEST = 32  # tensors between a mask and what takes it


@dataclass(frozen=True, slots=True)
class Born:
    """The op, or the parameter, that is the first to hold a bad number."""

    row: int
    frame: int
    what: str
    why: str
    fix: str
    seen: str = ""
    story: str = ""  # in place of "its result is not finite though its inputs are"
    seconds: tuple[Location, ...] = ()
    sure: bool = True  # its inputs were seen to be finite, or nothing before it can have been it


def first_bad(case: Case, call: Backward, behind: OpRow | None = None) -> Born | None:
    """Search what the loss, or what went into an op, was made of; None if too little was seen."""
    if call.number not in case.looks.walked:
        return None
    known = known_behind(case, call)
    poisoned = _poisoned(case, call, known)
    if poisoned is not None:
        return poisoned
    rows = ancestors(case.facts, behind.ins if behind else call.roots, call.op)
    made = next((case.facts.op(row) for row in rows if _is_bad(case, known, row)), None)
    if made is None:
        return None
    op, others = origin_of(case, known, made, set(rows))
    born = _born(case, known, op)
    if verdict_on(case, known, op) or all(map(known.fine, op.ins)):
        return born
    return replace(born, sure=not any(may_be(case, known, other) for other in others))


def _is_bad(case: Case, known: Known, row: int) -> bool:
    """Whether what came out is known to be bad, and not by a mask put in on purpose."""
    op = case.facts.op(row)
    for out in op.outs:
        if known.bad(out):
            look = known.of[out]
            if look.nan or not _on_purpose(case, op, known) or _spoils(case, known, out):
                return True
    return False


def _spoils(case: Case, known: Known, serial: int) -> bool:
    """Whether an infinite number goes straight into a layer, and its result is bad too."""
    users = (case.facts.op(row) for row in case.facts.users.get(serial, ()))
    return any(op.name in LAYERS and any(map(known.bad, op.outs)) for op in users)


def _on_purpose(case: Case, op: OpRow, known: Known) -> bool:
    """Infinite and nothing worse, filled in by a mask."""
    return op.name in MASKING and all(not (known.bad(s) and known.of[s].nan) for s in op.ins)


def _born(case: Case, known: Known, op: OpRow) -> Born:
    cure = cure_of(op.name)
    if cure is MEAN and not any(0 in case.facts.spec_of(serial).shape for serial in op.ins):
        cure = MULTIPLYING  # there was something to take the mean of
    why, fix = cure.value, cure.fix
    looks = known.at.get(op.row, [])
    if any(look.slot == "total_weight" and look.zero for look in looks):
        why = "every target is ignore_index, and the mean over no target is 0 / 0"
        fix = "skip the batch when no target counts, or use reduction='sum' over a clamped count"
    elif cure is DIVISION and scalar_by(case, op)[1] == 0:
        why = "its divisor is the number 0 here"
        fix = "divide by at least 1, as in x / max(n, 1), or leave such a batch out"
    elif not op.ins:
        return Born(
            op.row, op.frame, f"the data that came in through {spoken(op)}", "",
            "look for missing or infinite values in the data before the loop, and drop or fill "
            "them (torch.isfinite tells which)",
            story=f"the numbers that {spoken(op)} brought into torch were not all finite already",
        )  # fmt: skip
    elif (cure is MULTIPLYING or op.name in CONVERTING) and op.specs:
        kind = case.trace.spec(op.specs[0]).dtype
        if kind in ("float16", "bfloat16"):
            what = "a value" if op.name in CONVERTING else "the product or sum"
            why = f"{what} is larger than {kind} can hold ({LARGEST[kind]:g})"
            fix = (
                f"scale the values down before {spoken(op)}, or compute it in float32 "
                "(torch.autocast(..., enabled=False) around it), or autocast to bfloat16"
            )
    if cure is LOG and _made_by(case, op) == "softmax":
        fix = "use log_softmax in place of the logarithm of softmax: it does not underflow"
    masked = _masked(case, op) if cure is SOFTMAX else None
    if masked is not None:
        at, own = case.places.of(masked.frame, "mask"), case.places.of(op.frame, "culprit")
        return Born(
            op.row, op.frame, spoken(op), why, fix,
            story=f"the result of {spoken(op)} at {place(own)} is NaN, and nothing before it: "
            f"{place(at)} masks the whole of some row, and {why}",
            seconds=(at,) if at else (),
        )  # fmt: skip
    return Born(op.row, op.frame, spoken(op), why, fix, _seen(known, op, cure))


def _made_by(case: Case, op: OpRow) -> str:
    """The name of the op that made what an op takes first."""
    row = case.facts.makers.get(op.ins[0], -1) if op.ins else -1
    return case.facts.op(row).name if row >= 0 else ""


def _masked(case: Case, op: OpRow) -> OpRow | None:
    """The op that filled in the mask which a softmax, or an attention, is given."""
    facts = case.facts
    queue = list(op.ins)
    for serial in queue:
        maker = facts.op(row) if (row := facts.makers.get(serial, -1)) >= 0 else None
        if maker is None or len(queue) > FARTHEST:
            continue
        if maker.name in FILLING:
            return maker
        if maker.name in VIEWS or maker.name in MASKING:
            queue += maker.ins
    return None


def _seen(known: Known, op: OpRow, cure: Cure) -> str:
    """` (an input has 1 zero among 5 numbers between 0 and 43.9)`."""
    looks = [*known.at.get(op.row, ()), *(known.of[s] for s in op.ins if s in known.of)]
    looks = [look for look in looks if not look.bad and look.slot not in ("result", "total_weight")]
    if not looks:
        return ""
    look = max(looks, key=lambda one: (bool(one.zero), one.low < 0, one.numbers))
    if cure is MULTIPLYING:
        look = max(looks, key=lambda one: max(abs(one.low), abs(one.high)))
    if not look.numbers:
        return " (an input is empty)"
    if look.numbers == 1:
        return f" (the one number {look.low:.6g})"
    zeros = f"{look.zero} of {look.numbers} zero, " if look.zero else ""
    return f" ({zeros}between {look.low:.6g} and {look.high:.9g})"


def _poisoned(case: Case, call: Backward, known: Known) -> Born | None:
    """A parameter that was bad before anything was computed from it."""
    leaves = case.trace.leaves
    bad = [
        serial
        for serial in _parameters_behind(case, call)
        if known.bad(serial) and leaves[serial].kind is LeafKind.PARAMETER
    ]
    if not bad:
        return None
    serial = bad[0]
    name = case.words.parameter(serial).name
    steps = [
        step
        for optimizer in case.facts.owners.get(serial, ())
        for step in case.loop.steps[optimizer.id]
        if step.event.op < call.op
    ]
    made = case.places.of(leaves[serial].frame, "created")
    if steps:
        return Born(
            -1, steps[-1].event.frame, f"the step that updated `{name}`", "",
            "lower the learning rate, or clip the gradients",
            story=f"`{name}` itself was no longer finite: the step before had left it so",
            seconds=(made,) if made else (),
        )  # fmt: skip
    return Born(
        -1, leaves[serial].frame, f"the making of `{name}`", "",
        "initialise it: torch.empty hands out whatever was in memory",
        story=f"`{name}` held numbers that are not finite before its first use",
    )  # fmt: skip


def _parameters_behind(case: Case, call: Backward) -> Iterable[int]:
    used: set[int] = set()
    for row in ancestors(case.facts, call.roots, call.op):
        used.update(case.facts.op(row).ins)
    return [serial for serial in case.trace.leaves if serial in used]
