"""GP403: backward piles onto gradients that a step has already used."""

from __future__ import annotations

import itertools
from collections import Counter

from gradpm.diagnose.backwards import Backward
from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location, Severity
from gradpm.diagnose.op_names import is_mutating
from gradpm.diagnose.steps import Step
from gradpm.diagnose.words import place
from gradpm.trace.schema import Op

SHARE = 0.5
FEWEST = 2


def find(case: Case) -> None:
    """For every parameter: in how many steps was an old gradient still part of the new one."""
    piled: dict[tuple[str, int], list[tuple[int, list[Backward]]]] = {}
    for serial in case.loop.first_fresh:
        calls = _stepped(case, serial) if serial in case.expected.owned else _by_hand(case, serial)
        if calls:
            at = case.places.of(calls[0].frame, "culprit")
            key = (at.file, at.line) if at is not None else ("", 0)
            piled.setdefault(key, []).append((serial, calls))
    for found in piled.values():
        _tell(case, found)


def _stepped(case: Case, serial: int) -> list[Backward]:
    """The first calls of those steps whose gradient still held the step before's."""
    best: list[Backward] = []
    if serial not in case.facts.gradients.ever_held:
        return best  # the usual case
    for optimizer in case.facts.owners[serial]:
        steps = case.loop.steps[optimizer.id]
        piles, judged = [], 0
        for step in steps[1:]:
            fresh = step.fresh(serial)
            if not fresh or step.in_backward:
                continue
            judged += 1
            piled = all(case.loop.held(grad, step.since, call) for call, grad in fresh)
            if piled and _used(steps, step, serial):
                piles.append(_meant(case, optimizer.id, [call for call, _ in fresh]))
        if len(piles) >= FEWEST and len(piles) >= SHARE * judged:
            best = max(best, piles, key=len)
    return best


def _meant(case: Case, optimizer: int, calls: list[Backward]) -> Backward:
    """The first of these calls that is for this optimizer, not for another that steps next.

    A generator's backward leaves gradients in the discriminator too, which a zero_grad before
    the discriminator's own backward would clear.
    """
    for call in calls:
        following = case.loop.step_after(call.op_end)
        if following is not None and following.optimizer.id == optimizer:
            return call
    return calls[-1]


def _used(steps: list[Step], step: Step, serial: int) -> bool:
    """Whether the step before had this gradient to use."""
    before = steps[step.index - 1].event.detail
    return bool(before.get("have")) and serial not in (before.get("without") or ())


def _by_hand(case: Case, serial: int) -> list[Backward]:
    """The same where the program updates the parameter itself, without an optimizer."""
    if case.facts.optimizers or serial not in case.facts.gradients.ever_held:
        return []  # what changes it beside them is a copy, a clamp, an average
    calls = case.facts.gradients.calls_that_fed(serial)
    updates = _updates(case, serial)
    piles, judged = [], 0
    for before, after in itertools.pairwise(calls):
        moved = after.grads[serial].version != before.grads[serial].version
        if not moved and not any(before.op_end <= op <= after.op for op in updates):
            continue
        judged += 1
        if case.loop.held(after.grads[serial], before.op_end, after):
            piles.append(after)
    return piles if len(piles) >= FEWEST and len(piles) >= SHARE * judged else []


def _updates(case: Case, serial: int) -> list[int]:
    """Op ids at which the parameter was changed through `.data`."""
    facts = case.facts
    found = []
    for row in facts.users.get(serial, ()):
        op = facts.op(row)
        if op.name != "data.__get__" or op.has(Op.IN_STEP):
            continue
        for out in op.outs:
            for later in facts.users.get(out, ()):
                user = facts.op(later)
                if is_mutating(user.name) and user.ins[:1] == (out,):
                    found.append(user.id)
    return found


def _tell(case: Case, piled: list[tuple[int, list[Backward]]]) -> None:
    places, words = case.places, case.words
    serials = [serial for serial, _ in piled]
    calls = max((calls for _, calls in piled), key=len)
    frame = Counter(call.frame for call in calls).most_common(1)[0][0]
    culprit = places.of(frame, "culprit")
    subjects = words.parameters(serials)
    who = words.who(subjects, serials)
    owners = case.facts.owners.get(serials[0], [])
    step = case.loop.steps[owners[0].id][0] if owners else None
    stepped = places.of(step.event.frame, "step") if step is not None else None
    name = places.target(owners[0].frame) if owners else ""
    others = _elsewhere(case, culprit)
    cure = f"{name or 'optimizer'}.zero_grad()" if owners else "`.grad = None` for each parameter"
    again = (
        f" {place(others[0])} clears gradients, but not these before this call." if others else ""
    )
    case.finding(
        "GP403",
        Severity.ERROR,
        f"The gradients of {who} are never cleared between steps: backward at {place(culprit)} "
        "adds to old ones",
        f"Each backward() adds to `.grad`. In {len(calls)} of the calls at {place(culprit)} the "
        f"gradient that the step {f'at {place(stepped)} ' if stepped else ''}had already used "
        f"was still there, so each update is the sum of all those before.{again}",
        f"call {cure} before backward() at {place(culprit)}, once for each step",
        subjects=subjects,
        locations=[culprit, stepped, *others],
        backward=calls[0].number + 1,
        backwards=len(calls),
    )


def _elsewhere(case: Case, culprit: Location | None) -> list[Location]:
    """Lines that do clear gradients, though not these or not in time."""
    frames = Counter(clearing.frame for clearing in case.loop.clearings)
    found = [case.places.of(frame, "cleared") for frame, _ in frames.most_common(3)]
    return [place for place in found if place is not None and place != culprit]
