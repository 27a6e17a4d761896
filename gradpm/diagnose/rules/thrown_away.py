"""GP404: `autograd.grad` handed the gradients back, and nothing put them where a step looks."""

from __future__ import annotations

from gradpm.diagnose.backwards import Backward
from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Severity
from gradpm.diagnose.moved import is_moved
from gradpm.diagnose.optimizers import Optimizer
from gradpm.diagnose.steps import Step
from gradpm.diagnose.words import place

FEWEST = 2  # steps


def find(case: Case) -> None:
    """Speak of optimizers that never stepped with any gradient, though theirs were computed."""
    asked = [call for call in case.facts.backwards if call.is_grad_call and not call.raised]
    for optimizer in case.facts.optimizers if asked else ():
        steps = case.loop.steps[optimizer.id]
        if len(steps) < FEWEST or not all(_found_none(step) for step in steps):
            continue
        own = [call for call in asked if not optimizer.params.keys().isdisjoint(call.inputs)]
        if not own or case.explained.intersection(optimizer.params):
            continue
        if not any(is_moved(case, serial, own[0].op) for serial in optimizer.params):
            _tell(case, optimizer, steps, own)


def _found_none(step: Step) -> bool:
    """Whether not one gradient was there, before the step or from a closure within it."""
    return step.without and not step.ran_closure and not step.calls


def _tell(case: Case, optimizer: Optimizer, steps: list[Step], calls: list[Backward]) -> None:
    places, words = case.places, case.words
    given = {serial for call in calls for serial in call.inputs}
    serials = [serial for serial in optimizer.params if serial in given]
    subjects = words.parameters(serials)
    who = words.who(subjects, serials)
    culprit = places.of(steps[0].event.frame, "culprit")
    at = places.of(calls[0].frame, "gradients")
    name = places.target(optimizer.frame) or optimizer.type
    case.finding(
        "GP404",
        Severity.ERROR,
        f"The step at {place(culprit)} found no gradient at all: `torch.autograd.grad(...)` at "
        f"{place(at)} returns them and leaves `.grad` None",
        f"`torch.autograd.grad(...)` at {place(at)} computed the gradients of {who} and gave them "
        f"back as a tuple; only backward() fills `.grad`, which is all that `{name}.step()` reads. "
        f"Not one of {len(steps)} steps changed anything.",
        f"call backward() on the loss at {place(at)} instead, or set `p.grad = g` for each "
        f"parameter before the step at {place(culprit)}",
        subjects=subjects,
        locations=[culprit, at, places.of(optimizer.frame, "optimizer")],
        backward=calls[0].number + 1,
        backwards=len(steps),
    )
