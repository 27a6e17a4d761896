"""GP304 and GP305: gradients that shrink or grow by a factor at each layer, or at each step."""

from __future__ import annotations

import math
from collections.abc import Callable

from gradpm.diagnose.backwards import Backward
from gradpm.diagnose.bars import bars
from gradpm.diagnose.case import Case
from gradpm.diagnose.chains import Chain, chains_of
from gradpm.diagnose.finding import Location, Severity, Step
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.rules import diverging
from gradpm.diagnose.words import place, spoken
from gradpm.trace.schema import GradState

# Healthy nets were seen to stay between 1e-4 and 1e2 from end to end.
VANISHED = 1e-6
EXPLODED = 1e4
LARGE = 1e3  # a gradient's norm that no healthy case reached by depth
SHARE = 0.8
JUDGED = frozenset((int(GradState.FINITE), int(GradState.ZERO)))
SHRINKING = (
    "use relu or gelu with normalisation or residual connections, and initial weights of "
    "standard deviation about 1 / sqrt(inputs)",
    "use a gated cell (LSTM, GRU) in place of this step, or feed what comes in at the start to "
    "the later steps too",
    "keep the factor of each pass near 1, or let the value go by a shorter way (a residual "
    "connection) as well",
)
GROWING = (
    "draw the weights with standard deviation sqrt(2 / inputs), and clip the gradient norm before "
    "the step",
    "start the recurrent matrix as an orthogonal one with gain 1 and use a bounded or gated cell, "
    "and clip the gradient norm before the step",
    "keep the factor of each pass at or below 1 (a smaller time step), or detach between passes "
    "so that fewer are behind each loss, and clip the gradient norm before the step",
)


def find(case: Case) -> None:
    """Over depth first; then over steps."""
    tiny, huge = _suffering(case, _tiny), _suffering(case, _huge)
    told = False
    for call in case.watched.calls[:3] if tiny or huge else ():
        chains = chains_of(case, call)
        told = _vanishing(case, call, chains, tiny) or _exploding(case, call, chains, huge)
        if told:
            break
    if not told:
        diverging.find(case)


def _suffering(case: Case, how: Callable[[Case, int], bool]) -> list[int]:
    """Whose gradients are so; where nobody's are, no graph needs to be looked at."""
    learners = case.expected.learners if case.watched.calls else ()
    return [s for s in learners if s not in case.explained and how(case, s)]


def _labels(case: Case, ops: list[OpRow]) -> list[str]:
    """The module of each pass, where each has its own; else the op and the number of the pass."""
    modules = [case.module_path(op.scope) for op in ops]
    if len(set(modules)) == len(ops):
        return modules
    return [f"{spoken(op).strip('`')} {len(ops) - at}" for at, op in enumerate(ops)]


def _worst(chains: list[Chain], sign: int, limit: float) -> Chain | None:
    """The line to which most of the change is due, among those whose chain changes so much."""
    found = [chain for chain in chains if sign * chain.total > math.log(limit)]
    return max(found, key=lambda chain: (sign * chain.gain, sign * chain.total), default=None)


# -- over depth -----------------------------------------------------------------------


def _vanishing(case: Case, call: Backward, chains: list[Chain], serials: list[int]) -> bool:
    chain = _worst([chain for chain in chains if not chain.recovers], -1, 1 / VANISHED)
    if chain is None or not serials:
        return False
    culprit = case.places.of(chain.frame, "culprit")
    subjects = case.words.parameters(serials)
    who = case.words.who(subjects, serials)
    norms = [call.grads[s].norm for s in serials if s in call.grads]
    largest = max(grad.norm for grad in call.grads.values())
    get = "gets" if len(subjects) == 1 else "get"
    case.finding(
        "GP304",
        Severity.ERROR,
        f"The gradient vanishes over depth: each of {chain.count} passes through "
        f"{place(culprit)} multiplies it by {chain.factor:.2g}",
        f"From the loss to the first of the {chain.count} passes through {place(culprit)} "
        f"the gradient shrinks by a factor of {math.exp(chain.total):.1e}. "
        f"{who[0].upper() + who[1:]} {get} {_sizes(norms)}, where the largest is {largest:.1e}: "
        "too small to learn from.",
        _cure(chain, SHRINKING),
        subjects=subjects,
        locations=[culprit, case.places.of(call.frame, "backward"), *_made(case, serials[0])],
        path=_plot(case, chain),
        backward=call.number + 1,
        backwards=case.loop.first_fresh.get(serials[0], 0),
    )
    return True


def _sizes(norms: list[float]) -> str:
    """`gradients of norm 1e-12 to 1e-9`, or that they were rounded to nothing."""
    if not max(norms, default=0.0):
        return "gradients that are rounded to 0"
    return f"gradients of norm {min(norms):.1e} to {max(norms):.1e}"


def _cure(chain: Chain, cures: tuple[str, str, str]) -> str:
    """For layers of their own, for one layer in every step, for a line without weights."""
    if not chain.weighted:
        return cures[2]
    return cures[1] if chain.again else cures[0]


def _tiny(case: Case, serial: int) -> bool:
    """Whether its gradient stays a millionth of the largest, over the run."""
    gradients, largest = case.facts.gradients, case.loop.largest_norms
    norms, numbers = gradients.norms, gradients.numbers
    rows = [row for row in gradients.fed.get(serial, ()) if gradients.states[row] in JUDGED]
    tiny = sum(norms[row] < VANISHED * largest[numbers[row]] for row in rows)
    return bool(rows) and tiny >= SHARE * len(rows)


def _exploding(case: Case, call: Backward, chains: list[Chain], serials: list[int]) -> bool:
    chain = _worst(chains, 1, EXPLODED)
    if chain is None or not serials:
        return False
    culprit = case.places.of(chain.frame, "culprit")
    subjects = case.words.parameters(serials)
    who = case.words.who(subjects, serials)
    largest = max(call.grads[s].norm for s in serials if s in call.grads)
    case.finding(
        "GP305",
        Severity.ERROR,
        f"The gradient explodes over depth: each of {chain.count} passes through "
        f"{place(culprit)} multiplies it by {chain.factor:.2g}",
        f"From the loss to the first of the {chain.count} passes through {place(culprit)} the "
        f"gradient grows by a factor of {math.exp(min(chain.total, 700)):.1e}; "
        f"{who} {'gets' if len(subjects) == 1 else 'get'} gradients of norm up to {largest:.1e}.",
        _cure(chain, GROWING),
        subjects=subjects,
        locations=[culprit, *_made(case, serials[0]), case.places.of(call.frame, "backward")],
        path=_plot(case, chain),
        backward=call.number + 1,
        backwards=case.loop.first_fresh.get(serials[0], 0),
    )
    return True


def _huge(case: Case, serial: int) -> bool:
    """Whether half of its gradients are larger than any that depth gave in a healthy net."""
    norms, rows = case.facts.gradients.norms, case.facts.gradients.fed.get(serial, ())
    huge = sum(not norms[row] < LARGE for row in rows)
    return bool(rows) and huge >= len(rows) / 2


def _made(case: Case, serial: int) -> list[Location]:
    leaf = case.trace.leaves.get(serial)
    found = case.places.of(leaf.frame, "created") if leaf is not None else None
    return [found] if found is not None else []


def _plot(case: Case, chain: Chain) -> list[Step]:
    """The norm at each pass through a module, as a small bar by its magnitude."""
    return bars(chain.norms, _labels(case, [case.facts.op(row) for row in chain.rows]))
