"""GP303: an op whose backward turns a gradient into nothing but zeros, step after step."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from gradpm.diagnose.ancestry import ancestors
from gradpm.diagnose.backwards import Backward
from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Severity
from gradpm.diagnose.gradients import GradRow
from gradpm.diagnose.killers import Kill, kill_of
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.paths import loss_step, path_to
from gradpm.diagnose.remedies import remedy_for
from gradpm.diagnose.rules.switched_off import is_switched_off
from gradpm.diagnose.single import is_over_one
from gradpm.diagnose.watched import Measured
from gradpm.diagnose.words import place, spoken
from gradpm.trace.schema import GradState

NEARLY_ALL = 0.9
MOST = 0.8
FEWEST = 3
TAIL = 0.4  # of the run, at its end: died on the way
LONGEST = 8  # calls that the end must have at least
FADED = 1e-30  # a norm that any op may round to 0 in single precision: it has vanished over depth


@dataclass
class Killer:
    """One op, and the parameters to which it lets nothing but zeros through."""

    op: OpRow
    kind: str
    call: Backward
    serials: list[int] = field(default_factory=list)
    flat: bool = False  # its derivative is 0 whatever goes in


def find(case: Case) -> None:
    """Group the parameters with zero gradients by the op that makes the zeros."""
    wanted = {
        serial: calls
        for serial in case.facts.parameters
        if serial not in case.explained and _learns(case, serial)
        if (calls := _zero_calls(case, serial))
    }
    if not wanted:
        return
    killers: dict[tuple[str, int, str], Killer] = {}
    starved: dict[int, tuple[Backward, int]] = {}  # the inputs of the op that takes it are 0
    for serial, calls in wanted.items():
        found = _search(case, serial, calls)
        if found is None:
            continue
        if kill_of(found.kind) is Kill.CANCELS:
            starved[serial] = (found.call, found.op.row)
            continue
        at = case.places.of(found.op.frame, "culprit")
        key = (at.file, at.line, found.op.name) if at is not None else ("", 0, found.op.name)
        killers.setdefault(key, found).serials.append(serial)
    for killer in killers.values():
        killer.serials += [s for s, (call, row) in starved.items() if _feeds(case, killer, row)]
        if _speaks(case, killer):
            _tell(case, killer, wanted)


def _learns(case: Case, serial: int) -> bool:
    return serial in case.expected.learners


def _zero_calls(case: Case, serial: int) -> list[int]:
    """The calls that gave it nothing but zeros, if that is how it goes over the run."""
    gradients = case.facts.gradients
    states = [gradients.states[row] for row in gradients.fed.get(serial, ())]
    if GradState.ZERO not in states:
        return []
    fresh = gradients.given(serial)
    zero = [grad.backward for grad in fresh if grad.state is GradState.ZERO]
    if len(zero) < NEARLY_ALL * len(fresh) and not _died(fresh):
        return []
    losses = {call.number: call.loss for call in case.facts.accumulating}
    # where it does learn at times, a loss of exactly 0 is as low as it gets: a margin that holds,
    # an episode without reward
    least = sum(losses.get(number) == 0.0 for number in zero)
    return [] if len(zero) < len(fresh) and least >= MOST * len(zero) else zero


def _died(fresh: list[GradRow]) -> bool:
    """Whether the end of the run is nearly all zeros."""
    tail = fresh[-max(LONGEST, int(TAIL * len(fresh))) :]
    dead = sum(grad.state is GradState.ZERO for grad in tail)
    return len(fresh) > LONGEST and dead >= MOST * len(tail)


def _search(case: Case, serial: int, calls: list[int]) -> Killer | None:
    """The op that makes the zeros, in the first watched call in which there are any."""
    wanted = set(calls)
    lossy = {call.number for call in case.facts.accumulating if call.loss != 0.0}
    if wanted & lossy:
        wanted &= lossy  # of a loss of 0 nothing gets a gradient: that call tells nothing
    for call in case.watched.calls:
        if call.number not in wanted:
            continue
        nodes = case.watched.of(call)
        leaf = next((node for node in nodes if node.leaf == serial), None)
        if leaf is None:
            continue
        flat = _flat(case, nodes, leaf)
        if flat is not None:
            op = case.facts.op(case.graphs.row_of(flat.seq))
            return Killer(op, flat.kind, call, flat=True)
        found = _climb(nodes, leaf)
        if not found:
            continue
        killer, direct = max(found, key=lambda pair: (not pair[1], pair[0].seq))
        row = case.graphs.row_of(killer.seq)
        if row < 0 or (killer.norm < FADED and kill_of(killer.kind) is not Kill.STEP):
            continue
        kind = killer.kind
        if direct and kill_of(kind) in (Kill.MATRIX, Kill.PRODUCT):
            kind = "Add"  # it makes this gradient of its inputs: those are zeros, or cancel
        return Killer(case.facts.op(row), kind, call)
    return None


def _flat(case: Case, nodes: list[Measured], leaf: Measured) -> Measured | None:
    """The nearest node on the way to a leaf that is flat everywhere, if every way goes by one.

    A reward of 0, or a mask, may stop the gradient before it gets there in the calls that were
    watched; nothing would have passed all the same.
    """
    nearest: Measured | None = None
    seen = {leaf.at}
    queue = [leaf.at]
    for at in queue:
        if not nodes[at].parents:
            return None
        for parent in nodes[at].parents:
            node = nodes[parent]
            if _is_flat(case, node):
                nearest = nearest or node
            elif node.alive:
                return None
            elif parent not in seen:
                seen.add(parent)
                queue.append(parent)
    return nearest


def _is_flat(case: Case, node: Measured) -> bool:
    """Whether its derivative is 0 whatever goes in."""
    row = case.graphs.row_of(node.seq)
    if row < 0:
        return False
    return kill_of(node.kind) is Kill.STEP or is_over_one(case, case.facts.op(row), node.kind)


def _climb(nodes: list[Measured], leaf: Measured) -> list[tuple[Measured, bool]]:
    """(node that got a gradient and passed on zeros, whether straight to the leaf)."""
    found: list[tuple[Measured, bool]] = []
    seen = {leaf.at}
    queue = [(leaf.at, True)]
    while queue:
        at, direct = queue.pop()
        for parent in nodes[at].parents:
            if nodes[parent].alive:
                found.append((nodes[parent], direct))
            elif parent not in seen:
                seen.add(parent)
                moved = nodes[parent].kind in ("T", "View", "Transpose", "Expand", "ToCopy",
                                               "UnsafeView", "Permute", "Reshape")  # fmt: skip
                queue.append((parent, direct and moved))
    return found


def _feeds(case: Case, killer: Killer, row: int) -> bool:
    """Whether what the killer put out, all zeros too, is what the op in this row took in."""
    rows = ancestors(case.facts, case.facts.op(row).ins, case.facts.op(row).id)
    return killer.op.row in rows[-64:] and kill_of(killer.kind) is Kill.GATE


def _speaks(case: Case, killer: Killer) -> bool:
    judged = max(case.loop.first_fresh.get(serial, 0) for serial in killer.serials)
    if kill_of(killer.kind) is not Kill.STEP and judged < FEWEST:
        return False
    return not _is_dummy(case, killer)


def _is_dummy(case: Case, killer: Killer) -> bool:
    """`0 * sum(p.sum() ...)`: parameters alone times zero, to be reached and nothing more."""
    op = killer.op
    if kill_of(killer.kind) is not Kill.PRODUCT or len(op.ins) != 1:
        return False
    made: set[int] = set()
    taken: set[int] = set(op.ins)
    for row in ancestors(case.facts, op.ins, op.id, case.facts.parameters):
        if not case.facts.op(row).ins:
            return False  # data
        made.update(case.facts.op(row).outs)
        taken.update(case.facts.op(row).ins)
    return all(serial in case.facts.parameters for serial in taken - made)


def _tell(case: Case, killer: Killer, wanted: dict[int, list[int]]) -> None:
    places, words = case.places, case.words
    culprit = places.of(killer.op.frame, "culprit")
    subjects = words.parameters(killer.serials)
    who = words.who(subjects, killer.serials)
    call, first = killer.call, killer.serials[0]
    remedy = remedy_for(case, killer.op, killer.kind)
    counts = Counter(len(wanted[serial]) for serial in killer.serials)
    count = counts.most_common(1)[0][0]
    total = case.loop.first_fresh.get(first, count)
    at = places.of(call.frame, "backward")
    said = "the gradient becomes zero here"
    path = path_to(case, first, set(call.roots), call.op, killer.op.row, said)
    if call.roots:
        path.append(loss_step(case, call.roots[0], call.frame))
    made = case.trace.leaves.get(first)
    certain = kill_of(killer.kind) is Kill.STEP
    severity = Severity.ERROR if certain or count == total else Severity.WARNING
    if kill_of(killer.kind) is Kill.PRODUCT and is_switched_off(case, killer.op):
        severity = Severity.NOTE
    case.finding(
        "GP303",
        severity,
        f"The gradient of {who} is exactly zero: {spoken(killer.op)} at {place(culprit)} lets "
        "nothing through",
        f"{'Whatever' if killer.flat else 'A'} gradient reaches {spoken(killer.op)} at "
        f"{place(culprit)}, {'' if killer.flat else 'and '}nothing but zeros leaves it: "
        f"{remedy.why}. So {who} got zeros in {count} of {total} calls of backward() "
        "and cannot learn.",
        remedy.fix,
        subjects=subjects,
        locations=[culprit, at, places.of(made.frame, "created") if made else None],
        path=path,
        backward=min(wanted[first]) + 1,
        backwards=count,
    )
