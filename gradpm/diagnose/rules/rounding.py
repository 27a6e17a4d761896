"""GP405: updates so small beside the parameters that rounding gives the old values back."""

from __future__ import annotations

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Severity
from gradpm.diagnose.optimizers import Optimizer
from gradpm.diagnose.steps import Step
from gradpm.diagnose.words import place

FEWEST = 4  # steps that were looked at
MOST = 0.9  # of what got gradients; where some of it moves, training goes on
DIGITS = {"bfloat16": "8 bits, about 1/256", "float16": "11 bits, about 1/2048"}
TINY = 1e-8  # a rate whose updates single precision loses


def find(case: Case, optimizer: Optimizer, steps: list[Step]) -> None:
    """Not one bit of what got gradients changed, in any step that was looked at."""
    looked = [step for step in steps if step.done is not None and "still" in step.done.detail]
    looked = [step for step in looked if any(step.rates) and not step.without]
    if len(looked) < FEWEST:
        return
    still = set(optimizer.params)
    for step in looked:
        still &= set(step.done.detail["still"] if step.done is not None else ())
    fed = [serial for serial in optimizer.params if _fed(case, serial)]
    serials = [serial for serial in fed if serial in still and serial not in case.explained]
    kinds = {kind for step in looked for kind in _kinds(step)}
    rate = max(rate or 0.0 for step in looked for rate in step.rates)
    low = bool(kinds) and kinds <= set(DIGITS)
    if not serials or len(serials) < MOST * len(fed) or not (low or rate < TINY):
        return
    places, words = case.places, case.words
    made = places.of(optimizer.frame, "culprit")
    stepped = places.of(steps[0].event.frame, "step")
    subjects = words.parameters(serials)
    who = words.who(subjects, serials)
    name = places.target(optimizer.frame) or optimizer.type
    kind = min(kinds, default="the type")
    holds = f"{kind} holds {DIGITS[kind]} of a value" if kind in DIGITS else f"{kind} is rounded"
    case.finding(
        "GP405",
        Severity.ERROR,
        f"The updates of `{name}` are lost in rounding: {who} never changed in any bit",
        f"Gradients arrived and the step at {place(stepped)} ran with a rate of {rate:g}, but "
        f"{holds}: the update is smaller than that, and adding it gives the old value back.",
        "keep the weights in float32 and compute under torch.autocast(..., dtype="
        f"torch.{kind}), or raise the rate given at {place(made)}"
        if kind in DIGITS
        else f"raise the rate given at {place(made)}",
        subjects=subjects,
        locations=[made, stepped],
        backward=1,
        backwards=len(steps),
    )


def _kinds(step: Step) -> list[str]:
    """The types of the parameters that a step was given gradients for."""
    found = step.done.detail.get("kinds") if step.done is not None else None
    return [kind for kind in found if isinstance(kind, str)] if isinstance(found, list) else []


def _fed(case: Case, serial: int) -> bool:
    """Whether gradients that are not nothing arrived."""
    return bool(case.facts.gradients.finite(serial))
