"""GP405 and GP406: gradients that are right, and parameters that never change."""

from __future__ import annotations

from collections import Counter

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Severity
from gradpm.diagnose.gradients import SOME
from gradpm.diagnose.optimizers import Optimizer
from gradpm.diagnose.rules import rates, rounding, unstepped
from gradpm.diagnose.steps import Step
from gradpm.diagnose.words import place
from gradpm.trace.model import Event
from gradpm.trace.schema import Op

FEWEST_STEPS = 3
NEARLY_ALL = 0.9


def find(case: Case) -> None:
    """Judge every optimizer over the run."""
    for optimizer in case.facts.optimizers:
        steps = case.loop.steps[optimizer.id]
        skips = _skips(case, optimizer)
        if skips:
            _tell_skipped(case, optimizer, skips, len(steps))
        elif not steps:
            unstepped.tell(case, optimizer)
        elif len(steps) >= FEWEST_STEPS:
            rates.find(case, optimizer, steps)
            rounding.find(case, optimizer, steps)
            _scaled_to_nothing(case, optimizer, steps)


# -- GP406 ----------------------------------------------------------------------------


def _skips(case: Case, optimizer: Optimizer) -> list[Event]:
    """The scaler's steps that were skipped, if nearly all were."""
    events = [
        event
        for event in case.trace.events
        if event.kind == "scaler.step" and event.object == optimizer.id
    ]
    skipped = [event for event in events if event.detail.get("skipped")]
    if len(events) >= FEWEST_STEPS + 1 and len(skipped) >= NEARLY_ALL * len(events):
        return skipped
    return []


def _tell_skipped(case: Case, optimizer: Optimizer, skips: list[Event], steps: int) -> None:
    if set(optimizer.params) & case.explained:
        return  # what made the gradients infinite has been told
    places, words = case.places, case.words
    frame = Counter(event.frame for event in skips).most_common(1)[0][0]
    culprit = places.of(frame, "culprit")
    subjects = words.parameters(optimizer.params)
    why, fix = _overflow(skips)
    case.finding(
        "GP406",
        Severity.ERROR,
        f"GradScaler skipped {len(skips)} of {len(skips) + steps} steps at {place(culprit)}: "
        "nothing is learnt",
        "GradScaler leaves out a step whose gradients are not finite; a few at the start are "
        f"normal, {len(skips)} of {len(skips) + steps} are not. {why}.",
        fix,
        subjects=subjects,
        locations=[culprit, places.of(optimizer.frame, "optimizer")],
        backward=max(skips[0].backward, 1),
        backwards=len(skips),
    )


def _overflow(skips: list[Event]) -> tuple[str, str]:
    """Why the gradients overflow in each step, and the cure, by what became of the scale."""
    found = (event.detail.get("scale") for event in skips)
    scales = [scale for scale in found if isinstance(scale, (int, float))]
    may_be = "the gradients themselves may be finite before they are scaled"
    if len({event.detail.get("scaler") for event in skips}) > 1:
        return (
            f"A new GradScaler is made for each step, so its scale never falls; {may_be}",
            "make the GradScaler once, before the loop",
        )
    if scales and scales[-1] < scales[0]:
        return (
            f"Its scale fell from {scales[0]:g} to {scales[-1]:g} and the gradients still "
            "overflow: they are too large for the type even so",
            "make the loss smaller (the mean in place of a sum, targets of unit spread), or use "
            "bfloat16, whose range is that of float32",
        )
    if not scales:
        return (
            "Either its scale does not fall far enough, or the gradients overflow at any scale",
            "leave GradScaler's init_scale and backoff_factor at their defaults, and make the loss "
            "smaller if that does not help",
        )
    return (
        f"Its scale is {scales[0]:g} in all of these and does not fall, so the scaled gradients "
        f"overflow; {may_be}",
        "call update() without a value after each step, and leave GradScaler's init_scale and "
        "backoff_factor at their defaults",
    )


# -- GP405 ----------------------------------------------------------------------------


def _scaled_to_nothing(case: Case, optimizer: Optimizer, steps: list[Step]) -> None:
    """Gradients were there after backward and nothing but zeros at the step."""
    if set(optimizer.params) & case.explained:
        return
    looked = [step for step in steps if "zero" in step.event.detail and not step.without]
    lost = [step for step in looked if _lost(step)]
    if len(lost) < 2 or len(lost) < NEARLY_ALL * len(looked):
        return
    step = lost[0]
    call = step.calls[-1]
    frame = _scaling(case, set(optimizer.params), call.op_end, step.event.op)
    if not frame:
        return
    places, words = case.places, case.words
    culprit = places.of(frame, "culprit")
    serials = [serial for serial in optimizer.params if step.fresh(serial)]
    subjects = words.parameters(serials)
    stepped = places.of(step.event.frame, "step")
    case.finding(
        "GP405",
        Severity.ERROR,
        f"The call at {place(culprit)} multiplies the gradients of "
        f"{words.who(subjects, serials)} by 0 "
        "before the step",
        f"After backward() the gradients are not zero; after {place(culprit)} they all are, and "
        f"the step at {place(stepped)} changes nothing. clip_grad_norm_ with max_norm 0 does not "
        "switch clipping off: it scales every gradient to 0.",
        "clip only where the limit is above 0, or pass float('inf') to switch clipping off",
        subjects=subjects,
        locations=[culprit, stepped],
        backward=call.number + 1,
        backwards=len(lost),
    )


def _lost(step: Step) -> bool:
    detail = step.event.detail
    if detail["zero"] != detail.get("have") or not step.calls:
        return False
    return any(
        grad.state in SOME and grad.norm > 0.0
        for grad in step.calls[-1].grads.values()
        if grad.fresh and grad.leaf in step.optimizer.params
    )


def _scaling(case: Case, serials: set[int], first: int, end: int) -> int:
    """The stack of the last call in between that could have changed these gradients."""
    facts = case.facts
    frame = 0
    for row in range(facts.row_at(first), facts.row_at(end)):
        op = facts.op(row)
        reads = op.name.startswith("grad.__get__") and op.ins and op.ins[0] in serials
        if (reads or "clip_grad" in op.name) and not op.has(Op.IN_STEP):
            frame = op.frame
    return frame
