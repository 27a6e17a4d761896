"""Among ops whose results were not all seen, the one that made the first bad number."""

from __future__ import annotations

import math

from gradpm.diagnose.case import Case
from gradpm.diagnose.cures import ARC, DIVISION, LOG, MEAN, ROOT, cure_of, is_risky
from gradpm.diagnose.known import Known
from gradpm.diagnose.looks import Look
from gradpm.diagnose.op_names import VIEWS
from gradpm.diagnose.ops import OpRow

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
    index_select gather half bfloat16 double type""".split()
)
CONVERTING = frozenset("to half bfloat16 float type".split())
FILLING = frozenset("masked_fill masked_fill_ where masked_scatter".split())
MOVING = (
    VIEWS | FILLING | frozenset("cat stack clone relu gelu dropout index_select gather".split())
)
DATA = frozenset("? from_numpy tensor as_tensor asarray frombuffer empty load".split())
OPERANDS = frozenset("mat1 mat2 self other vec input weight".split())
PASSING = frozenset([LOG, ROOT, ARC])  # what is not finite in them was so before


WITH_SCALAR = frozenset(
    "div true_divide divide __truediv__ __div__ pow __pow__ float_power".split()
)
PRODUCTS = frozenset("mul __mul__ __rmul__ multiply mul_ __imul__".split())
LARGEST = {"float16": 65504.0, "bfloat16": 3.38e38, "float32": 3.4e38, "float64": 1.79e308}


def origin_of(case: Case, known: Known, made: OpRow, rows: set[int]) -> tuple[OpRow, list[OpRow]]:
    """The first known bad result is `made`'s; what led to it unseen, the likeliest and the rest."""
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
    return ranked[0], ranked[1:]


def may_be(case: Case, known: Known, op: OpRow) -> bool:
    """Whether an op that was not taken for the origin may be it all the same."""
    if op.name in MOVING or verdict_on(case, known, op) is False:
        return False
    kind = case.trace.spec(op.specs[0]).dtype if op.specs else ""
    if "float" not in kind and "complex" not in kind:
        return False  # a mask, an index
    if not op.ins:
        return op.name in DATA
    looks = [look for look in known.at.get(op.row, ()) if look.slot in OPERANDS]
    if len(looks) < 2:
        looks = [known.of[serial] for serial in op.ins[:2] if serial in known.of]
    shape = case.facts.spec_of(op.ins[0]).shape
    if op.name not in LAYERS or len(looks) < 2 or any(look.bad for look in looks):
        return True
    summed = shape[-1] if shape else 1
    return math.prod(map(_most, looks)) * summed >= _largest(case, op)


def _doubt(case: Case, known: Known, op: OpRow, made: OpRow) -> int:
    """0: caught in the act; 1: can do it by its nature, or seen to; the more, the less likely."""
    verdict = verdict_on(case, known, op)
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


def scalar_by(case: Case, op: OpRow) -> tuple[bool, float | None]:
    """(whether a division or power that can go wrong had a number as its second, which one)."""
    if len(op.ins) != 1 or not op.detail:
        return False, None
    detail = case.trace.detail(op.detail)
    by = detail.get("by")
    return "by" in detail, by if isinstance(by, (int, float)) else None


def _is_tame(case: Case, op: OpRow) -> bool:
    """Whether it was recorded as one that cannot go wrong by its nature: x / 2, x ** 2."""
    return op.name in WITH_SCALAR and len(op.ins) == 1 and not scalar_by(case, op)[0]


def verdict_on(case: Case, known: Known, op: OpRow) -> bool | None:
    """Whether the operands prove that the op made a bad number; None when they were not seen."""
    cure = cure_of(op.name)
    if cure is MEAN and any(0 in case.facts.spec_of(serial).shape for serial in op.ins):
        return True
    looks = known.at.get(op.row, [])
    if any(look.node.startswith("NllLoss") and look.slot == "total_weight" for look in looks):
        return any(look.slot == "total_weight" and look.zero for look in looks) or None
    if cure is DIVISION and (_is_tame(case, op) or scalar_by(case, op)[1] is not None):
        return scalar_by(case, op)[1] == 0
    if cure is DIVISION:
        divisor = _operand(known, op, "other", 1 if len(op.ins) > 1 else -1)
        if op.name in ("reciprocal", "__rtruediv__", "__rdiv__"):
            divisor = _operand(known, op, "self", 0)
        return None if divisor is None or divisor.bad else bool(divisor.zero)
    operand = _operand(known, op, "self", 0)
    if operand is None or operand.bad:
        return False if operand is not None and cure in PASSING else None
    if op.name in CONVERTING:
        return _most(operand) > _largest(case, op)
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
    return _most(one) * _most(other) < _largest(case, op)


def _most(look: Look) -> float:
    return max(abs(look.low), abs(look.high))


def _largest(case: Case, op: OpRow) -> float:
    """The largest number that the result's type can hold; 0 where that is not known."""
    return LARGEST.get(case.trace.spec(op.specs[0]).dtype, 0.0) if op.specs else 0.0


def _operand(known: Known, op: OpRow, slot: str, at: int) -> Look | None:
    for look in known.at.get(op.row, ()):
        if look.slot == slot:
            return look
    if 0 <= at < len(op.ins):
        return known.of.get(op.ins[at])
    return None
