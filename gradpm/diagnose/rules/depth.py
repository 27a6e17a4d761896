"""GP304 and GP305: gradients that shrink or grow by a factor at each layer, or at each step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gradpm.diagnose.bars import bars
from gradpm.diagnose.case import Case
from gradpm.diagnose.facts import Backward, OpRow
from gradpm.diagnose.finding import Location, Severity, Step
from gradpm.diagnose.origin import LAYERS
from gradpm.diagnose.rules import diverging
from gradpm.diagnose.watched import Measured
from gradpm.diagnose.words import place, spoken
from gradpm.trace.schema import GradState

# Healthy nets were seen to stay between 1e-4 and 1e2 from end to end.
VANISHED = 1e-6
EXPLODED = 1e4
LARGE = 1e3  # a gradient's norm that no healthy case reached by depth
RECOVERED = 1e3
FEWEST = 4  # layers, or passes through one
SHARE = 0.8
MOVES = frozenset("T Transpose Permute View Expand AccumulateGrad Unsqueeze Squeeze".split())
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


@dataclass
class Chain:
    """The nodes that one line made, again and again, from the loss's end on."""

    frame: int
    labels: list[str]
    count: int
    total: float  # log of the last one's norm over the first one's
    gain: float  # log of what this line's own nodes multiplied by
    norms: list[float]
    weighted: bool = True  # the line multiplies by matrices
    again: bool = False  # the same modules in each pass

    @property
    def factor(self) -> float:
        """What each pass multiplies by."""
        return math.exp(self.total / max(self.count - 1, 1))

    @property
    def recovers(self) -> bool:
        """Whether a pass further from the loss gets a gradient far larger than one before it.

        Then the small ones are branches (an attention's keys), and what is beyond them is
        reached by another way: no depth has shrunk it.
        """
        least = math.inf
        for norm in self.norms:
            if norm > RECOVERED * least:
                return True
            least = min(least, norm)
        return False


def find(case: Case) -> None:
    """Over depth first; then over steps."""
    told = False
    for call in case.watched.calls[:3]:
        chains = _chains(case, call)
        told = _vanishing(case, call, chains) or _exploding(case, call, chains)
        if told:
            break
    if not told:
        diverging.find(case)


def _chains(case: Case, call: Backward) -> list[Chain]:
    """Nodes of one kind made by one line of the user's, at least FEWEST times."""
    nodes = case.watched.of(call)
    groups: dict[tuple[str, int, tuple[int, int], str], list[tuple[Measured, OpRow]]] = {}
    gains: dict[tuple[str, int], float] = {}
    weights: dict[tuple[str, int], list[int]] = {}  # of each pass that multiplies by some
    for node in nodes:
        if not node.looked or node.kind in MOVES or node.seq < 0:
            continue
        row = case.graphs.row_of(node.seq)
        op = case.facts.op(row) if row >= 0 else None
        user = case.places.frame(op.frame if op is not None else 0)
        if op is not None and user is not None:
            span = user.column, user.end_column  # a line may hold two of a kind
            own = user.path, user.line, span, node.kind
            groups.setdefault(own, []).append((node, op))
            key = user.path, user.line
            if op.name in LAYERS:
                weights.setdefault(key, []).append(op.ins[1] if len(op.ins) > 1 else 0)
            gains[key] = gains.get(key, 0.0) + _gain(nodes, node)
    chains = []
    for (path, line, _, _), members in groups.items():
        members.sort(key=lambda pair: -pair[0].seq)
        norms = [node.norm for node, _ in members]
        if len(members) >= FEWEST and norms[0] > 0.0:
            total = _log(norms[-1]) - _log(norms[0])
            gain = gains[path, line]
            ops = [op for _, op in members]
            labels = _labels(case, ops)
            own_weights = weights.get((path, line), [])
            again = 2 * len(set(own_weights)) <= len(own_weights)
            chains.append(
                Chain(
                    ops[0].frame, labels, len(members), total, gain, norms, bool(own_weights), again
                )
            )  # fmt: skip
    return chains


def _labels(case: Case, ops: list[OpRow]) -> list[str]:
    """The module of each pass, where each has its own; else the op and the number of the pass."""
    modules = [case.module_path(op.scope) for op in ops]
    if len(set(modules)) == len(ops):
        return modules
    return [f"{spoken(op).strip('`')} {len(ops) - at}" for at, op in enumerate(ops)]


def _gain(nodes: list[Measured], node: Measured) -> float:
    """Log of the gradient that left a node towards the layers before it, over what came."""
    onward = [
        nodes[c].norm for c in node.children if nodes[c].looked and nodes[c].kind not in MOVES
    ]
    return _log(max(onward)) - _log(node.norm) if onward and node.norm > 0 else 0.0


def _log(norm: float) -> float:
    return math.log(max(norm, 1e-45))


def _worst(chains: list[Chain], sign: int, limit: float) -> Chain | None:
    """The line to which most of the change is due, among those whose chain changes so much."""
    found = [chain for chain in chains if sign * chain.total > math.log(limit)]
    return max(found, key=lambda chain: (sign * chain.gain, sign * chain.total), default=None)


# -- over depth -----------------------------------------------------------------------


def _vanishing(case: Case, call: Backward, chains: list[Chain]) -> bool:
    chain = _worst([chain for chain in chains if not chain.recovers], -1, 1 / VANISHED)
    if chain is None:
        return False
    serials = [s for s in case.expected.learners if s not in case.explained and _tiny(case, s)]
    if not serials:
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
        path=_plot(chain),
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
    judged = tiny = 0
    for call in case.facts.accumulating:
        grad = call.grads.get(serial)
        if grad is None or not grad.fresh or grad.state not in (GradState.FINITE, GradState.ZERO):
            continue
        judged += 1
        others = [g.norm for g in call.grads.values() if g.fresh and g.norm == g.norm]
        tiny += grad.norm < VANISHED * max(others, default=0.0)
    return judged > 0 and tiny >= SHARE * judged


def _exploding(case: Case, call: Backward, chains: list[Chain]) -> bool:
    chain = _worst(chains, 1, EXPLODED)
    if chain is None:
        return False
    serials = [s for s in case.expected.learners if s not in case.explained and _huge(case, s)]
    if not serials:
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
        path=_plot(chain),
        backward=call.number + 1,
        backwards=case.loop.first_fresh.get(serials[0], 0),
    )
    return True


def _huge(case: Case, serial: int) -> bool:
    judged = huge = 0
    for call in case.facts.accumulating:
        grad = call.grads.get(serial)
        if grad is not None and grad.fresh:
            judged += 1
            huge += not grad.norm < LARGE
    return judged > 0 and huge >= judged / 2


def _made(case: Case, serial: int) -> list[Location]:
    leaf = case.trace.leaves.get(serial)
    found = case.places.of(leaf.frame, "created") if leaf is not None else None
    return [found] if found is not None else []


def _plot(chain: Chain) -> list[Step]:
    """The norm at each pass through a module, as a small bar by its magnitude."""
    return bars(chain.norms, chain.labels)
