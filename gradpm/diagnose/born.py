"""Where the first number that is not finite was born, when the loss is not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gradpm.diagnose.ancestry import ancestors
from gradpm.diagnose.case import Case
from gradpm.diagnose.cures import (
    ARC,
    DIVISION,
    LOG,
    MEAN,
    MULTIPLYING,
    ROOT,
    Cure,
    cure_of,
    is_risky,
)
from gradpm.diagnose.facts import Backward, OpRow
from gradpm.diagnose.finding import Location
from gradpm.diagnose.flow import VIEWS
from gradpm.diagnose.known import Known, known_behind
from gradpm.diagnose.looks import Look
from gradpm.diagnose.words import spoken
from gradpm.trace.schema import LeafKind

# ops through which an infinite fill value is put in on purpose, and those that carry it on
MASKING = frozenset(
    """masked_fill masked_fill_ full full_like new_full where tensor triu tril fill_ __setitem__
    scatter scatter_ index_fill index_fill_ masked_scatter zeros_like add __add__ __radd__ add_
    sub to float expand repeat cat stack clone tril_ triu_ generate_square_subsequent_mask log
    """.split()
) - {"log"}
# what no infinite number is put into on purpose: no mask ends here
LAYERS = frozenset(
    """linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d matmul __matmul__ mm bmm addmm
    einsum batch_norm layer_norm group_norm instance_norm gru lstm rnn_tanh rnn_relu gru_cell
    lstm_cell rnn_tanh_cell""".split()
)
CARRYING = VIEWS | frozenset(
    """add __add__ sub mean sum cat stack to float clone relu gelu __radd__ neg __neg__ dropout
    index_select gather""".split()
)


WITH_SCALAR = frozenset(
    "div true_divide divide __truediv__ __div__ pow __pow__ float_power".split()
)
PRODUCTS = frozenset("mul __mul__ __rmul__ multiply mul_ __imul__".split())
LARGEST = {"float16": 65504.0, "bfloat16": 3.38e38, "float32": 3.4e38, "float64": 1.79e308}


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
    op = _origin(case, known, made, set(rows))
    return _born(case, known, op)


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


def _origin(case: Case, known: Known, made: OpRow, rows: set[int]) -> OpRow:
    """The first known bad result is `made`'s; among what led to it unseen, the likeliest."""
    facts = case.facts
    cone = {made.row: made}
    queue = [made]
    while queue:
        for serial in queue.pop().ins:
            row = facts.makers.get(serial, -1)
            if row in rows and row not in cone and not known.fine(serial):
                cone[row] = facts.op(row)
                queue.append(cone[row])
    ranked = sorted(cone.values(), key=lambda op: (_doubt(case, known, op, made), op.row))
    return ranked[0]


def _doubt(case: Case, known: Known, op: OpRow, made: OpRow) -> int:
    """0: caught in the act; 1: can do it by its nature, or seen to; the more, the less likely."""
    verdict = _verdict(case, known, op)
    if verdict is not None:
        return 0 if verdict else 9
    if op.name in MASKING and op.row != made.row:
        return 8
    fine = all(known.fine(serial) for serial in op.ins)
    carries = bool(op.ins) and op.name in CARRYING  # what comes from numpy carries nothing on
    risky = is_risky(op.name) and not _is_tame(case, op)
    if risky or (op.row == made.row and fine):
        return 1
    if fine and not carries:
        return 2
    if op.row == made.row:
        return 5 if carries else 3
    return 6 if carries else 4


def _scalar(case: Case, op: OpRow) -> tuple[bool, float | None]:
    """(whether a division or power that can go wrong had a number as its second, which one)."""
    if len(op.ins) != 1 or not op.detail:
        return False, None
    detail = case.trace.detail(op.detail)
    by = detail.get("by")
    return "by" in detail, by if isinstance(by, (int, float)) else None


def _is_tame(case: Case, op: OpRow) -> bool:
    """Whether it was recorded as one that cannot go wrong by its nature: x / 2, x ** 2."""
    return op.name in WITH_SCALAR and len(op.ins) == 1 and not _scalar(case, op)[0]


def _verdict(case: Case, known: Known, op: OpRow) -> bool | None:
    """Whether the operands prove that the op made a bad number; None when they were not seen."""
    cure = cure_of(op.name)
    if cure is MEAN and any(0 in case.facts.spec_of(serial).shape for serial in op.ins):
        return True
    looks = known.at.get(op.row, [])
    if any(look.node.startswith("NllLoss") and look.slot == "total_weight" for look in looks):
        return any(look.slot == "total_weight" and look.zero for look in looks) or None
    if cure is DIVISION and (_is_tame(case, op) or _scalar(case, op)[1] is not None):
        return _scalar(case, op)[1] == 0
    if cure is DIVISION:
        divisor = _operand(known, op, "other", 1 if len(op.ins) > 1 else -1)
        if op.name in ("reciprocal", "__rtruediv__", "__rdiv__"):
            divisor = _operand(known, op, "self", 0)
        return None if divisor is None or divisor.bad else bool(divisor.zero)
    operand = _operand(known, op, "self", 0)
    if operand is None or operand.bad:
        return None
    if cure is LOG:
        return operand.low <= 0.0
    if cure is ROOT:
        return operand.low < 0.0 or (op.name == "rsqrt" and bool(operand.zero))
    if cure is ARC:
        return max(abs(operand.low), abs(operand.high)) > 1.0
    if cure is MEAN:
        return operand.numbers == 0 or None
    return False if op.name in PRODUCTS and _fits(case, known, op, operand) else None


def _fits(case: Case, known: Known, op: OpRow, one: Look) -> bool:
    """Whether no product of these operands can be too large for its type."""
    other = _operand(known, op, "other", 1) if len(op.ins) == 2 else None
    if other is None or other.bad or not op.specs:
        return False
    most = max(abs(one.low), abs(one.high)) * max(abs(other.low), abs(other.high))
    return most < LARGEST.get(case.trace.spec(op.specs[0]).dtype, 0.0)


def _operand(known: Known, op: OpRow, slot: str, at: int) -> Look | None:
    for look in known.at.get(op.row, ()):
        if look.slot == slot:
            return look
    if 0 <= at < len(op.ins):
        return known.of.get(op.ins[at])
    return None


def _born(case: Case, known: Known, op: OpRow) -> Born:
    cure = cure_of(op.name)
    if cure is MEAN and not any(0 in case.facts.spec_of(serial).shape for serial in op.ins):
        cure = MULTIPLYING  # there was something to take the mean of
    why, fix = cure.value, cure.fix
    looks = known.at.get(op.row, [])
    if any(look.slot == "total_weight" and look.zero for look in looks):
        why = "every target is ignore_index, and the mean over no target is 0 / 0"
        fix = "skip the batch when no target counts, or use reduction='sum' over a clamped count"
    elif cure is DIVISION and _scalar(case, op)[1] == 0:
        why = "its divisor is the number 0 here"
        fix = "divide by at least 1, as in x / max(n, 1), or leave such a batch out"
    elif not op.ins:
        return Born(
            op.row, op.frame, f"the data that came in through {spoken(op)}", "",
            "look for missing or infinite values in the data before the loop, and drop or fill "
            "them (torch.isfinite tells which)",
            story=f"the numbers that {spoken(op)} brought into torch were not all finite already",
        )  # fmt: skip
    elif cure is MULTIPLYING and op.specs:
        kind = case.trace.spec(op.specs[0]).dtype
        if kind in ("float16", "bfloat16"):
            why = f"the product or sum is larger than {kind} can hold ({LARGEST[kind]:g})"
            fix = (
                f"scale the values down before {spoken(op)}, or compute it in float32 "
                "(torch.autocast(..., enabled=False) around it), or autocast to bfloat16"
            )
    return Born(op.row, op.frame, spoken(op), why, fix, _seen(known, op, cure))


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
