"""GP404 and GP112: steps that found no fresh gradient, or one that was cleared before its use."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location, Severity
from gradpm.diagnose.moved import is_moved
from gradpm.diagnose.optimizers import Optimizer
from gradpm.diagnose.rules.unstepped import in_its_place
from gradpm.diagnose.steps import Clearing, Step
from gradpm.diagnose.words import place

SHARE = 0.4  # of an optimizer's steps; below it a program may have its reasons
FEW = 3  # steps that tell whether an optimizer does without `.grad`


@dataclass
class Idle:
    """The steps of one optimizer that did nothing, by what went wrong."""

    optimizer: Optimizer
    steps: list[Step]
    stale: list[Step] = field(default_factory=list)  # nothing new since the last step
    early: list[tuple[Step, Clearing]] = field(default_factory=list)  # before the backward
    cleared: list[tuple[Step, Clearing]] = field(default_factory=list)


def find(case: Case) -> None:
    """Judge every optimizer's steps over the run."""
    if not case.facts.accumulating:
        return  # no backward at all: another rule's matter
    for optimizer in case.facts.optimizers:
        steps = case.loop.steps[optimizer.id]
        if steps and not case.explained.intersection(optimizer.params):
            _judge(case, _sorted(case, Idle(optimizer, steps)))


def _sorted(case: Case, idle: Idle) -> Idle:
    loop = case.loop
    serials = list(idle.optimizer.params)
    for step in idle.steps:
        end = step.event.op
        if step.ran_closure or step.in_backward or loop.set_by_hand(serials, step.since, end):
            continue
        if not step.gave(serials):
            if step.without or step.index:
                idle.stale.append(step)
            continue
        if not _empty(step):
            continue
        got = [serial for serial in serials if step.fresh(serial)]
        last = max(step.fresh(serial)[-1][0].op_end for serial in got)
        clearing = loop.cleared(got, last, end)
        if clearing is not None:
            early = not idle.steps[0].calls or _forward_between(case, clearing.op, step)
            (idle.early if early else idle.cleared).append((step, clearing))
    return idle


def _empty(step: Step) -> bool:
    """Whether every gradient was gone, or nothing but zeros, when the step began."""
    detail = step.event.detail
    return step.without or ("zero" in detail and detail["zero"] == detail.get("have"))


def _forward_between(case: Case, op: int, step: Step) -> bool:
    """Whether the next engine call's loss was computed between the clearing and the step."""
    facts = case.facts
    following = case.loop.call_after(step.event.backward)
    if following is None or not following.roots:
        return False
    row = facts.makers.get(following.roots[0])
    return row is not None and op <= facts.op(row).id < step.event.op


def _judge(case: Case, idle: Idle) -> None:
    total = len(idle.steps)
    looked = [step for step in idle.steps if step.without or "zero" in step.event.detail]
    if idle.cleared and len(idle.cleared) >= SHARE * max(len(looked), 1):
        _tell_cleared(case, idle)
    elif idle.early and len(idle.early) >= SHARE * max(len(looked), 1):
        _tell_idle(case, idle, [step for step, _ in idle.early], early=True)
    elif _stands_in(case, idle):
        return  # the optimizer that never steps is to be told of
    elif all(step.without for step in idle.steps) and _moves(case, idle):
        return  # it takes its gradients from elsewhere
    elif len(idle.stale) >= max(2, SHARE * total) and _ever(case, idle.optimizer):
        _tell_idle(case, idle, idle.stale, early=False)


def _moves(case: Case, idle: Idle) -> bool:
    """Whether a step changes its parameters all the same: it was handed gradients otherwise."""
    windows = [(s.event.op, s.done.op) for s in idle.steps[:FEW] if s.done is not None]
    return any(
        is_moved(case, serial, first - 1, end + 1)
        for first, end in windows
        for serial in idle.optimizer.params
    )


def _stands_in(case: Case, idle: Idle) -> bool:
    """Whether these steps follow a backward for another optimizer, which never steps."""
    never = [one for one in case.facts.optimizers if not case.loop.steps[one.id]]
    taken = {id(step) for one in never for step in in_its_place(case, one)}
    return bool(idle.stale) and all(id(step) in taken for step in idle.stale)


def _ever(case: Case, optimizer: Optimizer) -> bool:
    """Whether any of its parameters ever got a gradient; if not, a missing one is to blame."""
    return any(serial in case.expected.received for serial in optimizer.params)


def _tell_cleared(case: Case, idle: Idle) -> None:
    places, words = case.places, case.words
    frames = Counter(clearing.frame for _, clearing in idle.cleared)
    culprit = places.of(frames.most_common(1)[0][0], "culprit")
    step, _clearing = idle.cleared[0]
    serials = [s for s in idle.optimizer.params if step.fresh(s)]
    last = max(step.fresh(serial)[-1][0].op_end for serial in serials)
    cleared = case.loop.all_cleared(last, step.event.op)
    serials = [serial for serial in serials if serial in cleared] or serials
    subjects = words.parameters(serials)
    backward = step.fresh(serials[0])[-1][0]
    at = places.of(backward.frame, "backward")
    stepped = places.of(step.event.frame, "step")
    count = len(idle.cleared)
    case.finding(
        "GP112",
        Severity.ERROR,
        f"The gradients of {words.who(subjects, serials)} are cleared at {place(culprit)}, "
        "after backward and before the step that should use them",
        f"The backward() at {place(at)} fills the gradients, {place(culprit)} clears them, and "
        f"the step at {place(stepped)} then finds none: it leaves every parameter as it was. "
        f"That happened in {count} of {len(idle.steps)} steps.",
        f"clear the gradients before backward() at {place(at)}, or after the step, not in between",
        subjects=subjects,
        locations=[culprit, stepped, at],
        backward=backward.number + 1,
        backwards=count,
    )


def _tell_idle(case: Case, idle: Idle, steps: list[Step], *, early: bool) -> None:
    places, words = case.places, case.words
    frames = Counter(_line(places.of(step.event.frame, "culprit")) for step in steps)
    wanted = frames.most_common(1)[0][0]
    first = next(s for s in steps if _line(places.of(s.event.frame, "culprit")) == wanted)
    culprit = places.of(first.event.frame, "culprit")
    serials = list(idle.optimizer.params)
    subjects = words.parameters(serials)
    after = _next_call(case, first)
    at = places.of(after, "backward") if after else None
    cleared = places.of(idle.early[0][1].frame, "cleared") if early else None
    empty = all(step.without for step in steps)
    found = "no gradient at all" if empty else "no gradient that it had not already applied"
    share = f"{len(steps)} of {len(idle.steps)}"
    why = (
        f"The gradients of the pass before are cleared at {place(cleared)}, and backward() at "
        f"{place(at)} comes only after the step: {share} steps changed nothing."
        if early
        else "No backward() since the step before had given its parameters a gradient, in "
        f"{share} steps: "
        + (
            "they changed nothing."
            if empty
            else "the old gradient was applied once more, moments and weight decay included."
        )
    )
    case.finding(
        "GP404",
        Severity.ERROR if early or len(steps) == len(idle.steps) else Severity.WARNING,
        f"The step at {place(culprit)} found {found}",
        f"The call `{_name(case, idle.optimizer)}.step()` at {place(culprit)} found {found}. {why}",
        f"call backward() before the step at {place(culprit)}"
        if early or empty
        else f"let the step at {place(culprit)} run only after the backward() that feeds its "
        f"parameters{f', at {place(at)}' if at is not None else ''}",
        subjects=subjects,
        locations=[culprit, at, cleared, *_other_steps(case, idle, wanted)],
        backward=max(first.event.backward, 1),
        backwards=len(steps),
    )


def _line(location: Location | None) -> tuple[str, int]:
    return (location.file, location.line) if location is not None else ("", 0)


def _next_call(case: Case, step: Step) -> int:
    """The stack of the first call after a step that gives its optimizer's parameters something."""
    own = step.optimizer.params
    return next(
        (
            call.frame
            for call in case.facts.accumulating
            if call.number >= step.event.backward and any(map(call.grads.is_fresh, own))
        ),
        0,
    )


def _other_steps(case: Case, idle: Idle, line: tuple[str, int]) -> list[Location]:
    """Where this optimizer steps elsewhere."""
    for step in idle.steps:
        found = case.places.of(step.event.frame, "step")
        if found is not None and _line(found) != line:
            return [found]
    return []


def _name(case: Case, optimizer: Optimizer) -> str:
    return case.places.target(optimizer.frame) or optimizer.type
