"""GP213: a tensor made under inference_mode was used where autograd must record."""

from __future__ import annotations

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location, Step
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.raised import Raised
from gradpm.diagnose.words import place, spoken
from gradpm.trace.schema import Op

SAYS = (
    "Inference tensors cannot be saved for backward",
    "Inplace update to inference tensor",
    "inference tensor outside InferenceMode",
    "Inference tensors do not track version counter",
    "inference tensor",
    "Inference tensor",
)


def find(case: Case) -> None:
    """The first refusal at each line."""
    for raised in case.raised:
        if not raised.taken and raised.op is not None and any(s in raised.message for s in SAYS):
            raised.taken = True
            _tell(case, raised, raised.op)


def _tell(case: Case, raised: Raised, op: OpRow) -> None:
    serial = _operand(raised, op)
    frame = case.places.frame(op.frame)
    at = case.places.at(frame, "saved")
    origin = _origin(case, serial)
    culprit, entered = _made(case, origin)
    made = origin.outs[0] if origin is not None and origin.outs else serial
    subject = case.called.subject(made)
    name = subject.name
    local = case.called.known(serial, frame)
    as_ = f" (as `{local}`)" if local and local != name else ""
    saves = "saved for backward" in raised.message
    why = (
        "has to keep it to compute a gradient later, and inference tensors have no version "
        "counter to guard what is kept"
        if saves
        else "would have to record a change of it, and inference tensors keep no record"
    )
    case.finding(
        "GP213",
        raised.severity,
        f"`{name}` was made under inference_mode at {place(culprit)} and then used in training at "
        f"{place(at)}",
        f"{_op(origin)} at {place(culprit)} ran under inference_mode, so `{name}` and every slice "
        f"of it are inference tensors for good. {spoken(op)} at {place(at)} took it{as_}: it "
        f"{why}, so torch refuses.{raised.end}",
        f"compute `{name}` under torch.no_grad() instead of inference_mode, or use "
        f"`{name}.clone()` outside of it",
        subjects=[subject],
        locations=[culprit, at, entered],
        path=[
            Step("op", _op(origin).strip("`"), f"makes {name} under inference_mode", culprit,
                 origin.id if origin is not None else -1),
            Step("cut", spoken(op).strip("`"), "must save it for backward" if saves else "refused",
                 at, op.id),
        ],
        backward=len(case.facts.backwards) + 1,
    )  # fmt: skip


def _operand(raised: Raised, op: OpRow) -> int:
    for operand in raised.operands:
        if operand.get("inference") and operand.get("serial"):
            return int(operand["serial"])
    return op.ins[0] if op.ins else 0


def _origin(case: Case, serial: int) -> OpRow | None:
    """Back over slices and views to the op that ran in the mode."""
    last = None
    for _ in range(1000):
        row = case.facts.makers.get(serial)
        if row is None:
            return last
        last = case.facts.op(row)
        if last.has(Op.INFERENCE) or not last.ins:
            return last
        serial = last.ins[0]
    return last


def _made(case: Case, origin: OpRow | None) -> tuple[Location | None, Location | None]:
    """(the line inside the mode, the line that entered it)."""
    if origin is None:
        return None, None
    mode = case.places.grad_mode(origin.frame)
    if mode is None:
        return case.places.of(origin.frame, "culprit"), None
    owner, entered = mode
    return case.places.at(owner, "culprit"), entered


def _op(origin: OpRow | None) -> str:
    return spoken(origin) if origin is not None else "An op"
