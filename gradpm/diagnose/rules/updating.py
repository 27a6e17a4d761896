"""GP405 and GP406: gradients that are right, and parameters that never change."""

from __future__ import annotations

from collections import Counter

from gradpm.diagnose.case import Case
from gradpm.diagnose.facts import Optimizer
from gradpm.diagnose.finding import Location, Severity
from gradpm.diagnose.loop import SOME, Step
from gradpm.diagnose.rules import rounding, unstepped
from gradpm.diagnose.words import place
from gradpm.trace.model import Event
from gradpm.trace.schema import Op

FEWEST_STEPS = 3
NEARLY_ALL = 0.9
FADED = 1e-10  # a rate at which an update of usual size is lost in single precision
FEWEST_FADED = 8


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
            _without_rate(case, optimizer, steps)
            _faded(case, optimizer, steps)
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
    scalers = len({event.detail.get("scaler") for event in skips})
    subjects = words.parameters(optimizer.params)
    anew = scalers > 1
    why = (
        "A new GradScaler is made for each step, so its scale never falls"
        if anew
        else "Its scale is so large, and falls so slowly, that the scaled gradients overflow"
    )
    case.finding(
        "GP406",
        Severity.ERROR,
        f"GradScaler skipped {len(skips)} of {len(skips) + steps} steps at {place(culprit)}: "
        "nothing is learnt",
        "GradScaler leaves out a step whose gradients are not finite; a few at the start are "
        f"normal, {len(skips)} of {len(skips) + steps} are not. {why}; the gradients themselves "
        "may be finite before they are scaled.",
        "make the GradScaler once, before the loop"
        if anew
        else "leave GradScaler's init_scale and backoff_factor at their defaults",
        subjects=subjects,
        locations=[culprit, places.of(optimizer.frame, "optimizer")],
        backward=max(skips[0].backward, 1),
        backwards=len(skips),
    )


# -- GP405 ----------------------------------------------------------------------------


def _without_rate(case: Case, optimizer: Optimizer, steps: list[Step]) -> None:
    """lr was 0 in every step."""
    rates = [rate for step in steps for rate in step.rates]
    if not rates or any(rate is None or rate != 0.0 for rate in rates):
        return
    places, words = case.places, case.words
    serials = [s for s in optimizer.params if _got_some(case, s)]
    if not serials:
        return
    made = places.of(optimizer.frame, "culprit")
    schedule = _schedule(case, optimizer)
    given = {options.get("lr") for options in optimizer.options}
    culprit, why = made, "It was built with lr = 0"
    if given - {0, None} or schedule is not None:
        culprit = schedule or case.loop.sets_rate() or made
        why = f"The schedule at {place(culprit)} gives 0 at every step"
    optimizer_at = places.of(optimizer.frame, "optimizer") if culprit != made else None
    subjects = words.parameters(serials)
    name = places.target(optimizer.frame) or optimizer.type
    case.finding(
        "GP405",
        Severity.ERROR,
        f"The learning rate of `{name}` is 0 in all {len(steps)} steps: "
        f"{words.who(subjects, serials)} never changed",
        f"{why}, so each step of `{name}` multiplies its update by 0. The gradients are there and "
        "are right; they are never applied.",
        f"give `{name}` a rate above 0: {place(culprit)}; where it is computed, divide with `/` "
        "(32 // 256 is 0)",
        subjects=subjects,
        locations=[culprit, optimizer_at],
        backward=1,
        backwards=len(steps),
    )


def _faded(case: Case, optimizer: Optimizer, steps: list[Step]) -> None:
    """The schedule took the rate to nothing early on, and most steps changed nothing."""
    rates = [max((rate for rate in step.rates if rate is not None), default=0.0) for step in steps]
    highest = max(rates)
    low = [rate < FADED and rate < 1e-6 * highest for rate in rates]
    begin = len(low) - next((n for n, one in enumerate(reversed(low)) if not one), len(low))
    left = len(steps) - begin
    serials = [serial for serial in optimizer.params if _got_some(case, serial)]
    if not serials or left < max(FEWEST_FADED, len(steps) / 2) or not highest:
        return
    places, words = case.places, case.words
    made = places.of(optimizer.frame, "optimizer")
    culprit = _schedule(case, optimizer) or case.loop.sets_rate() or made
    subjects = words.parameters(serials)
    name = places.target(optimizer.frame) or optimizer.type
    case.finding(
        "GP405",
        Severity.WARNING,
        f"The learning rate of `{name}` is next to nothing from step {begin + 1} of {len(steps)} "
        f"on: {words.who(subjects, serials)} stay as they are",
        f"The schedule at {place(culprit)} took the rate from {highest:.1e} to "
        f"{rates[begin]:.1e} in {begin} steps, and to {rates[-1]:.1e} at the end. "
        "An update of that size is lost in rounding. Stepping a schedule per batch that is meant "
        "per epoch is the usual reason.",
        f"step the schedule made at {place(culprit)} once per epoch, or let it fall more slowly",
        subjects=subjects,
        locations=[culprit, made, places.of(steps[begin].event.frame, "step")],
        backward=max(steps[begin].event.backward, 1),
        backwards=left,
    )


def _schedule(case: Case, optimizer: Optimizer) -> Location | None:
    events = [e for e in case.trace.events if e.kind == "schedule.new" and e.object == optimizer.id]
    return case.places.of(events[0].frame, "culprit") if events else None


def _got_some(case: Case, serial: int) -> bool:
    return any(
        serial in call.grads and call.grads[serial].state in SOME
        for call in case.facts.accumulating
    )


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
