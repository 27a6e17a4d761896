"""GP205: backward was called on a loss with more than one number."""

from __future__ import annotations

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Step
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.raised import Raised
from gradpm.diagnose.words import place, spoken

SAYS = ("grad can be implicitly created only for", "grad can be computed only for")
SCALING = frozenset(
    "div mul __truediv__ __rtruediv__ __mul__ __rmul__ true_divide neg __neg__ to float".split()
)


def find(case: Case) -> None:
    """The first loss that was refused at each line."""
    for raised in case.raised:
        if not raised.taken and any(words in raised.message for words in SAYS):
            raised.taken = True
            _tell(case, raised)


def _root(case: Case, raised: Raised) -> int:
    """The first root with more than one number."""
    for operand in raised.operands:
        shape = operand.get("shape")
        if isinstance(shape, list) and shape and operand.get("serial"):
            return int(operand["serial"])
    return raised.op.ins[0] if raised.op is not None and raised.op.ins else 0


def _maker(case: Case, root: int) -> OpRow | None:
    """The op that made it non-scalar: mere scaling by a number is stepped over."""
    row = case.facts.makers.get(root)
    for _ in range(16):
        if row is None:
            return None
        op = case.facts.op(row)
        if op.name not in SCALING or len(op.ins) != 1:
            return op
        before = case.facts.makers.get(op.ins[0])
        if before is None:
            return op
        row = before
    return case.facts.op(row) if row is not None else None


def _tell(case: Case, raised: Raised) -> None:
    root = _root(case, raised)
    at = case.places.of(raised.error.frame, "backward")
    op = _maker(case, root)
    culprit = case.places.of(op.frame, "culprit") if op is not None else None
    subject = case.called.subject(root, case.places.frame(raised.error.frame))
    name = subject.name
    shape = list(subject.shape or ())
    what = spoken(op) if op is not None else "an op that was not recorded"
    complex_ = "complex" in raised.message
    problem = f"holds {subject.dtype} numbers" if complex_ else f"has shape {shape}"
    is_grad = at is not None and "backward" not in at.source and "grad(" in at.source
    called = "autograd.grad()" if is_grad else "backward()"
    cure = f"`{name} = {name}.abs()`" if complex_ else f"or call `{name}.mean().backward()`"
    if is_grad and not complex_:
        cure = (
            f"or pass grad_outputs=torch.ones_like({name}), which gives the derivative of its sum"
        )
    users = case.places.user_frames(op.frame) if op is not None else []
    caller = case.places.at(users[1], "called from") if len(users) > 1 else None
    case.finding(
        "GP205",
        raised.severity,
        f"`{name}` {problem}: {called} at {place(at)} needs a single real number",
        f"{what[0].upper() + what[1:]} at {place(culprit)} made `{name}` with shape {shape}. "
        f"{called} at {place(at)} starts from the derivative of one number by itself, 1.0, and "
        f"cannot choose one for {_count(shape)} of them.{raised.end}",
        f"reduce it where it is made (`.mean()` or `.sum()`, or reduction='mean'), {cure}",
        subjects=[subject],
        locations=[culprit, at, caller],
        path=[
            Step("op", what.strip("`"), f"{name} {shape}", culprit, op.id if op else -1),
            Step("cut", called, "needs a scalar", at),
        ],
        backward=len(case.facts.backwards) + 1,
        backwards=1,
    )


def _count(shape: list[int]) -> str:
    total = 1
    for size in shape:
        total *= size
    return str(total)
