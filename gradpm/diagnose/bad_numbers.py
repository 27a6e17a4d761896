"""Which engine calls saw NaN or infinity, and whether the program got over them."""

from __future__ import annotations

import math

from gradpm.diagnose.backwards import Backward
from gradpm.diagnose.case import Case
from gradpm.trace.schema import GradState

BAD = (GradState.NAN, GradState.INF)


def bad_leaves(case: Case, call: Backward) -> list[int]:
    """Leaves that require grad and whose fresh gradient is not finite."""
    states = case.facts.gradients.states[call.grads.rows]
    if not any(map(states.count, BAD)):
        return []  # the usual case
    grads = call.grads.items()
    return [s for s, g in grads if g.state in BAD and g.fresh and g.requires]


def recovered(case: Case, call: Backward) -> bool:
    """Whether later calls went well: then the program deals with it by itself."""
    later = [c for c in case.facts.accumulating if c.number > call.number and c.grads]
    good = [
        c for c in later if not bad_leaves(case, c) and (c.loss is None or math.isfinite(c.loss))
    ]
    return len(good) > len(later) / 2


def skipped(case: Case, call: Backward) -> bool:
    """Whether the program took no step on what this call gave it."""
    later = next((c.op for c in case.facts.accumulating if c.number > call.number), None)
    step = case.loop.step_after(call.op_end)
    return later is not None and (step is None or step.event.op > later)


def count_bad(case: Case) -> int:
    """How many calls saw bad numbers."""
    return sum(
        bool(bad_leaves(case, c)) or (c.loss is not None and not math.isfinite(c.loss))
        for c in case.facts.accumulating
    )
