"""GP112 parameter by parameter: cleared inside backward by a hook, or between two backwards."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from gradpm.diagnose.backwards import Backward
from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Severity
from gradpm.diagnose.optimizers import Optimizer
from gradpm.diagnose.steps import Clearing, Step
from gradpm.diagnose.words import place


@dataclass
class Loss:
    """One clearing line, and what it takes away before any step has used it."""

    serials: list[int] = field(default_factory=list)
    frames: Counter[int] = field(default_factory=Counter)
    call: Backward | None = None
    step: Step | None = None


def in_backward(case: Case) -> None:
    """A hook clears `.grad` while backward runs, and the step that comes later finds none."""
    losses: dict[int, Loss] = {}
    for serial in case.expected.starved:
        steps = _steps_outside(case, case.facts.owners.get(serial, []))
        if serial in case.explained or not steps or serial in case.loop.by_hand:
            continue
        for call in case.facts.accumulating:
            clearing = case.loop.cleared([serial], call.op, call.op_end)
            if clearing is not None and call.op <= clearing.op < call.op_end:
                loss = losses.setdefault(clearing.frame, Loss(call=call, step=steps[0]))
                loss.serials.append(serial)
                loss.frames[clearing.frame] += 1
                break
    _tell_all(case, losses, "inside backward itself, by a hook")


def _steps_outside(case: Case, owners: list[Optimizer]) -> list[Step]:
    """The owners' steps, if not one of them ran inside backward, or was given anything."""
    steps = [step for owner in owners for step in case.loop.steps[owner.id]]
    if any(step.in_backward or step.ran_closure or not step.without for step in steps):
        return []
    return steps


def between_backwards(case: Case) -> None:
    """What one backward gave is cleared before the next one, and no step ever saw it.

    Of all the optimizers that own a parameter: one clears before its own backward what
    another has stepped with.
    """
    losses: dict[int, Loss] = {}
    useful: set[int] = set()
    lost: dict[int, list[tuple[Step, Backward, Clearing]]] = {}
    for optimizer in case.facts.optimizers:
        for step in case.loop.steps[optimizer.id]:
            if not step.calls or step.ran_closure or step.in_backward:
                useful.update(optimizer.params)
                continue
            _sort(case, step, useful, lost)
    for serial, rows in lost.items():
        if serial in useful or serial in case.explained or len(rows) < 2:
            continue
        step, call, clearing = rows[0]
        loss = losses.setdefault(clearing.frame, Loss(call=call, step=step))
        loss.serials.append(serial)
        loss.frames[clearing.frame] += len(rows)
    _tell_all(case, losses, "before the step that should use them")


def _sort(
    case: Case,
    step: Step,
    useful: set[int],
    lost: dict[int, list[tuple[Step, Backward, Clearing]]],
) -> None:
    """Which parameters' gradients this step could use, and which were cleared before it."""
    loop = case.loop
    end = step.event.op
    if useful.issuperset(step.optimizer.params):
        return  # the usual case
    cleared = loop.all_cleared(step.calls[0].op_end, end)
    for serial in step.optimizer.params:
        if serial in useful:
            continue
        fresh = step.fresh(serial)
        if not fresh:
            continue
        last = fresh[-1][0]
        clearing = loop.cleared([serial], last.op_end, end) if serial in cleared else None
        if clearing is None or loop.set_by_hand([serial], last.op_end, end):
            useful.add(serial)
        else:
            lost.setdefault(serial, []).append((step, last, clearing))


def _tell_all(case: Case, losses: dict[int, Loss], when: str) -> None:
    for loss in losses.values():
        call, step = loss.call, loss.step
        if call is None or step is None:
            continue
        subjects = case.words.parameters(loss.serials)
        who = case.words.who(subjects, loss.serials)
        culprit = case.places.of(loss.frames.most_common(1)[0][0], "culprit")
        at = case.places.of(call.frame, "backward")
        stepped = case.places.of(step.event.frame, "step")
        inside = when.startswith("inside")
        case.finding(
            "GP112",
            Severity.ERROR,
            f"The gradients of {who} are cleared at {place(culprit)}, {when}",
            f"The backward() at {place(at)} computes them, {place(culprit)} clears them, and the "
            f"step at {place(stepped)} finds none. In this run no step ever used them.",
            f"leave `.grad` alone at {place(culprit)}; clear it after the step at {place(stepped)}"
            if inside
            else f"clear the gradients once, before the first backward(), not at {place(culprit)}",
            subjects=subjects,
            locations=[culprit, at, stepped],
            backward=call.number + 1,
            backwards=loss.frames.total(),
        )
