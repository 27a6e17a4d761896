"""GP305 over steps: each update overshoots, and the gradient grows from step to step."""

from __future__ import annotations

import itertools
from collections import Counter

from gradpm.diagnose.bars import bars
from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location, Severity
from gradpm.diagnose.op_names import is_mutating
from gradpm.diagnose.words import place
from gradpm.trace.schema import Op

FEWEST = 4  # steps
LARGE = 1e3  # a gradient's norm at the end
GROWN = 1e6  # from the first step to the last
SHARE = 0.8


def find(case: Case) -> None:
    """For each optimizer, and for what the program updates itself where there is none."""
    for optimizer in case.facts.optimizers:
        steps = case.loop.steps[optimizer.id]
        serials = [s for s in optimizer.params if s not in case.explained and diverges(case, s)]
        if len(steps) < FEWEST or not serials or len(serials) < len(optimizer.params) / 2:
            continue
        made = case.places.of(optimizer.frame, "culprit")
        name = case.places.target(optimizer.frame) or optimizer.type
        rate = next((r for r in steps[0].rates if r), None)
        given = f" of {rate:g}" if rate else ""
        _tell(
            case, serials, f"each step of `{name}`",
            f"the learning rate{given} given to `{name}` at {place(made)}",
            [made, case.places.of(steps[0].event.frame, "step")],
        )  # fmt: skip
    if not case.facts.optimizers:
        fed = {serial for call in case.facts.accumulating for serial in call.grads}
        serials = [s for s in sorted(fed, reverse=True) if diverges(case, s)]
        made = _update(case, serials[0]) if serials else None
        if made is not None:
            _tell(
                case, serials, f"each update at {place(made)}",
                f"the factor by which {place(made)} multiplies it", [made],
            )  # fmt: skip


def _tell(
    case: Case, serials: list[int], what: str, factor: str, locations: list[Location | None]
) -> None:
    subjects = case.words.parameters(serials)
    norms = norms_of(case, serials[0])
    gain = (norms[-1] / norms[0]) ** (1 / (len(norms) - 1))
    first = case.facts.gradients.call(case.facts.gradients.finite(serials[0])[0])
    case.finding(
        "GP305",
        Severity.ERROR,
        f"Training diverges: {what} multiplies the gradient by about {gain:.2g}",
        f"The gradient of `{subjects[0].name}` grows from {norms[0]:.1e} to {norms[-1]:.1e} in "
        f"{len(norms)} steps, by about the same factor each time: {factor} is so large that each "
        "update overshoots.",
        "lower the learning rate, or scale the inputs to unit spread",
        subjects=subjects,
        locations=[*locations, case.places.of(first.frame, "backward")],
        path=bars(norms, [f"step {at + 1}" for at in range(len(norms))]),
        backward=first.number + 1,
        backwards=len(norms),
    )


def _update(case: Case, serial: int) -> Location | None:
    """The line at which the program changes a parameter between its backwards."""
    facts = case.facts
    first = facts.accumulating[0].op
    known, frames = {serial}, Counter[int]()
    for row in facts.users.get(serial, ()):
        op = facts.op(row)
        if op.name == "data.__get__":
            known.update(op.outs)
    for one in known:
        for row in facts.users.get(one, ()):
            op = facts.op(row)
            writes = is_mutating(op.name) and op.ins[0] == one and not op.has(Op.SETTER)
            if writes and op.id > first:
                frames[op.frame] += 1
    return case.places.of(frames.most_common(1)[0][0], "culprit") if frames else None


def norms_of(case: Case, serial: int) -> list[float]:
    """Its gradient's norm, step by step, where that is neither zero nor bad."""
    gradients = case.facts.gradients
    return [gradients.norms[row] for row in gradients.finite(serial)]


def diverges(case: Case, serial: int) -> bool:
    """Whether the norm of its gradient grows nearly every step, a millionfold in all."""
    norms = norms_of(case, serial)
    if len(norms) < FEWEST or not norms[-1] > LARGE or norms[-1] < GROWN * norms[0]:
        return False
    rises = sum(after > before for before, after in itertools.pairwise(norms))
    return rises >= SHARE * (len(norms) - 1)
