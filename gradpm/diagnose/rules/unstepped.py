"""GP405: an optimizer that was built and never steps."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location, Severity
from gradpm.diagnose.loop import code_of
from gradpm.diagnose.optimizers import Optimizer
from gradpm.diagnose.steps import Step
from gradpm.diagnose.words import place

FEWEST_CALLS = 3


def in_its_place(case: Case, optimizer: Optimizer) -> list[Step]:
    """Steps of others that follow right on a backward meant for this one, and had none of it."""
    found = []
    for call in case.facts.accumulating:
        fresh = set(filter(call.grads.is_fresh, call.grads))
        step = case.loop.step_after(call.op_end)
        if step is None or not fresh & optimizer.params.keys():
            continue
        if not fresh & step.optimizer.params.keys():
            found.append(step)
    return found


def tell(case: Case, optimizer: Optimizer) -> None:
    """Built, fed with gradients, and `step()` never called."""
    serials = [serial for serial in optimizer.params if _unmoved(case, serial)]
    if not serials or len(serials) < len(optimizer.params) / 2:
        return
    places, words = case.places, case.words
    made = places.of(optimizer.frame, "culprit")
    bare = case.loop.bare("step")
    subjects = words.parameters(serials)
    calls = case.facts.gradients.calls_that_fed(serials[0])
    at = places.of(calls[0].frame, "backward") if calls else None
    name = places.target(optimizer.frame) or optimizer.type
    others = Counter(step.event.frame for step in in_its_place(case, optimizer))
    instead = places.of(others.most_common(1)[0][0], "steps another") if others else None
    missing = f" `{code_of(bare)}` at {place(bare)} lacks its parentheses." if bare else ""
    if instead is not None:
        missing = f" `{code_of(instead)}` at {place(instead)} follows in its place."
    case.finding(
        "GP405",
        Severity.ERROR,
        f"`{name}` made at {place(made)} never steps: {words.who(subjects, serials)} "
        "got gradients and stayed as they were"
        if len(serials) > 1
        else f"`{name}` made at {place(made)} never steps: {words.who(subjects, serials)} "
        "got gradients and stayed as it was",
        f"The calls of backward() filled the gradients of {words.who(subjects, serials)} in "
        f"{len(calls)} steps, but `{name}.step()` was never called.{missing}",
        f"call `{name}.step()` after backward() at {place(at)}"
        + (f", in place of the step at {place(instead)}" if instead is not None else ""),
        subjects=subjects,
        locations=[bare, replace(made, role="optimizer") if made else None, at]
        if bare
        else [made, at, instead],
        backward=calls[0].number + 1 if calls else None,
        backwards=len(calls),
    )


def _second(made: Location | None) -> Location | None:
    """Where the optimizer was made, if that is not the line to blame."""
    return replace(made, role="optimizer") if made is not None else None


def _unmoved(case: Case, serial: int) -> bool:
    """Whether a parameter got gradients in several calls and its values were never touched."""
    gradients = case.facts.gradients
    rows = gradients.fed.get(serial, ())
    owners = case.facts.owners.get(serial, [])
    if len(rows) < FEWEST_CALLS or any(case.loop.steps[owner.id] for owner in owners):
        return False
    if len({gradients.versions[row] for row in rows}) > 1:
        return False
    return not any(
        case.facts.op(row).name in ("data.__get__", "data.__set__")
        for row in case.facts.users.get(serial, ())
        if case.facts.op(row).id > case.facts.accumulating[0].op
    )
