"""GP301 and GP302: the first bad number of a run, forward or backward."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from gradpm.diagnose import functions
from gradpm.diagnose.ancestry import ancestors, descendants, scaled_by_torch
from gradpm.diagnose.backwards import Backward
from gradpm.diagnose.bad_numbers import bad_leaves, count_bad, recovered, skipped
from gradpm.diagnose.born import first_bad
from gradpm.diagnose.case import Case
from gradpm.diagnose.chosen import chosen_after
from gradpm.diagnose.cures import Cure, cure_of, is_risky
from gradpm.diagnose.finding import Severity, Step, Subject
from gradpm.diagnose.looks import Look
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.paths import loss_step, path_to
from gradpm.diagnose.rules.diverging import diverges
from gradpm.diagnose.words import is_nameless, place, spoken
from gradpm.trace.schema import GradState, Op, Table

ANOMALY = "returned nan values in its"
OVERFLOWING = 1e30  # a gradient that grew this large is no sign of a singular derivative


@dataclass(frozen=True)
class Made:
    """The op whose backward made the first bad gradient, and what was seen there."""

    op: OpRow
    looks: tuple[Look, ...]
    certain: bool


def find(case: Case) -> None:
    """Judge the first engine call that was given, or left behind, a bad number."""
    if _caught_by_anomaly_mode(case):
        return
    for call in case.facts.accumulating:
        lossy = call.loss is not None and not math.isfinite(call.loss)
        serials = bad_leaves(case, call)
        if not lossy and not serials:
            continue
        if any(diverges(case, serial) for serial in call.grads):
            return  # it grew step by step: that is the cause
        if lossy and scaled_by_torch(case.facts, call) and _finite_before_scale(case, call):
            return
        if lossy:
            _forward(case, call, serials)
        else:
            _backward(case, call, serials)
        return


def _caught_by_anomaly_mode(case: Case) -> bool:
    """detect_anomaly raises at the first NaN: the graph up to there is told all the same."""
    errors = case.trace.errors
    for call in case.facts.backwards:
        if not 0 <= call.error < len(errors) or ANOMALY not in errors[call.error].message:
            continue
        serials = [serial for serial, grad in call.grads.items() if grad.requires]
        made = _from_hooks(case, call, serials) or _from_nodes(case, call)
        if serials and made is not None:
            _tell(case, call, serials, made, Severity.ERROR)
            return True
    return False


def _finite_before_scale(case: Case, call: Backward) -> bool:
    row = case.facts.makers.get(call.roots[0], -1)
    ins = case.facts.op(row).ins if row >= 0 else ()
    looks = case.looks.walked.get(call.number, ())
    return any(look.serial in ins[:1] and not look.bad for look in looks)


def _severity(case: Case, call: Backward, serials: list[int]) -> Severity:
    """A program that skips such steps means to; one whose gradients stay good is only warned."""
    if not recovered(case, call):
        return Severity.ERROR
    return Severity.NOTE if serials or skipped(case, call) else Severity.WARNING


def loss_name(case: Case, call: Backward) -> str:
    """The loss's variable in backticks, or plain words."""
    name = case.words.tensor_name(call.roots[0]) if call.roots else ""
    return "the loss" if not name or is_nameless(name) else f"`{name}`"


# -- GP301 ----------------------------------------------------------------------------


def _forward(case: Case, call: Backward, serials: list[int], behind: OpRow | None = None) -> None:
    """`behind`: the op, if not the loss itself, into which the bad number went."""
    born = first_bad(case, call, behind)
    if born is None:
        return
    places, words = case.places, case.words
    culprit = places.of(born.frame, "culprit")
    at = places.of(call.frame, "backward")
    loss = loss_name(case, call)
    told = [s for s, g in call.grads.items() if g.requires and g.fresh] or serials
    subjects: tuple[Subject, ...] = words.parameters(told)
    value = "NaN" if call.loss != call.loss else "infinite"
    step = f"call {call.number + 1}" if call.number else "the very first call"
    held = "held" if born.what.startswith("the data") else "made"
    result = f"the result of {born.what} at {place(culprit)} is not finite, " + (
        f"though its inputs are{born.seen}: {born.why}"
        if born.sure
        else f"and nothing that led there was seen to be so before{born.seen}. Likely, {born.why}"
    )
    made = held if born.sure else f"most likely {held}"
    path = _path(case, call, told, born.row, "the first bad number")
    case.finding(
        "GP301",
        _severity(case, call, serials),
        f"{loss} is {value}: {born.what} at {place(culprit)} {made} the first number that is "
        "not finite"
        if behind is None
        else f"{born.what} at {place(culprit)} {made} the first number that is not finite, and "
        f"{spoken(behind)} spreads it backward",
        f"At {step} of backward() {born.story or result}. From there it spreads into "
        f"{f'{loss} and ' if behind is None else ''}the gradients.",
        born.fix,
        subjects=subjects,
        locations=[culprit, *born.seconds, at],
        path=path,
        backward=call.number + 1,
        backwards=count_bad(case),
    )


# -- GP302 ----------------------------------------------------------------------------


def _backward(case: Case, call: Backward, serials: list[int]) -> None:
    scaled = any(event.kind == "scaler.step" for event in case.trace.events)
    made = _from_hooks(case, call, serials) or (None if scaled else _from_nodes(case, call))
    if made is None and not scaled:
        made = _from_names(case, call, serials)
    if made is None or (scaled and not _is_singular(made)):
        return
    if any(look.bad and not look.slot.startswith("grad") for look in made.looks):
        return _forward(case, call, serials, made.op)
    if recovered(case, call):
        return _tell(case, call, serials, made, Severity.NOTE)
    return _tell(case, call, serials, made, Severity.ERROR)


def _is_singular(made: Made) -> bool:
    """Whether the op was at a point where its derivative is infinite, whatever the scale."""
    nan = any(look.slot == "grad out" and look.nan for look in made.looks)
    arc = cure_of(made.op.name) is cure_of("acos")
    return nan or any(
        look.zero or (arc and max(abs(look.low), abs(look.high)) >= 1.0)
        for look in made.looks
        if not look.slot.startswith("grad")
    )


def _from_hooks(case: Case, call: Backward, serials: list[int]) -> Made | None:
    """The last op in the forward whose watched node made bad of good."""
    facts = case.facts
    path = set(descendants(facts, serials, ancestors(facts, call.roots, call.op)))
    best: Made | None = None
    for op_id, looks in case.looks.at_node.items():
        mine = tuple(look for look in looks if look.backward == call.number)
        row = case.trace.op_row.get(op_id, -1)
        if mine and row in path and (best is None or row > best.op.row):
            best = Made(facts.op(row), mine, certain=True)
    return best


def _from_nodes(case: Case, call: Backward) -> Made | None:
    """From a graph that was watched node by node: the first with good before and bad after."""
    columns = case.trace.table(Table.NODE)
    rows = [row for row, number in enumerate(columns["backward"]) if number == call.number]
    if not rows:
        return None
    starts, edges = columns.ragged("edge")
    bad = {row - rows[0] for row in rows if columns["nan"][row] or columns["inf"][row]}
    leaves = set(bad_leaves(case, call))
    bad |= {row - rows[0] for row in rows if columns["leaf"][row] in leaves}
    best = -1
    for row in rows:
        if not columns["looked"][row] or row - rows[0] in bad:
            continue
        children = edges[starts[row] : starts[row + 1]]
        makes = bad.intersection(children) and columns["norm"][row] < OVERFLOWING
        if makes and columns["seq"][row] > best:
            best = columns["seq"][row]
    found = case.graphs.row_of(best)
    return Made(case.facts.op(found), (), certain=True) if found >= 0 else None


def _from_names(case: Case, call: Backward, serials: list[int]) -> Made | None:
    """Nothing was watched: the only op on the way that can do it, if there is but one line."""
    facts = case.facts
    rows = descendants(facts, serials, ancestors(facts, call.roots, call.op))
    risky = [facts.op(row) for row in rows if is_risky(facts.op(row).name)]
    lines = {case.places.of(op.frame, "culprit") for op in risky}
    return Made(risky[-1], (), certain=False) if len(lines) == 1 else None


def _tell(case: Case, call: Backward, serials: list[int], made: Made, severity: Severity) -> None:
    places, words = case.places, case.words
    culprit = places.of(made.op.frame, "culprit")
    at = places.of(call.frame, "backward")
    written = functions.return_line(case, made.op, 0) if made.op.has(Op.FUNCTION) else None
    cure = cure_of(made.op.name)
    if written is not None:
        written = replace(written, role="its backward")
        cure = _cure_of_function(made.op, place(written))
    hidden, told, otherwise = chosen_after(case, made.op)
    subjects = words.parameters(serials)
    who = words.who(subjects, serials)
    loss = loss_name(case, call)
    nan = call.raised or any(call.grads[s].state is GradState.NAN for s in serials)
    value = "NaN" if nan else "infinite"
    surely = "" if made.certain else "most likely "
    path = _path(case, call, serials, made.op.row, f"the gradient turns {value} here")
    case.finding(
        "GP302",
        severity,
        f"The gradient of {who} is {value}: {surely}the backward of {spoken(made.op)} at "
        f"{place(culprit)} made it",
        f"{loss} is finite in call {call.number + 1} of backward(), yet {surely}the derivative "
        f"of {spoken(made.op)} at {place(culprit)} is not{_range(made)}: {cure.derivative}.{told} "
        f"What is behind it on the way to {who} becomes {value}, and after the step so do the "
        "parameters.",
        otherwise or cure.fix,
        subjects=subjects,
        locations=[culprit, at, written, hidden],
        path=path,
        backward=call.number + 1,
        backwards=max(count_bad(case), 1),
    )


def _cure_of_function(op: OpRow, written: str) -> Cure:
    why = f"`backward` at {written} divides by 0, takes its root or logarithm, or overflows"
    name = op.name.removesuffix(".apply")
    return Cure("", why, f"guard that in `{name}.backward`, with the epsilon its forward has")


def _path(case: Case, call: Backward, serials: list[int], row: int, said: str) -> list[Step]:
    """From a parameter that the op was computed from, if any was, by way of the op to the loss."""
    facts = case.facts
    if not serials:
        return []
    source = serials[0]
    behind: set[int] = set()
    if row >= 0:
        op = facts.op(row)
        behind = set(op.ins).union(*(facts.op(r).ins for r in ancestors(facts, op.ins, op.id)))
        source = next((serial for serial in serials if serial in behind), source)
    path = path_to(case, source, set(call.roots), call.op, row, said)
    if row >= 0 and source not in behind:
        path = path[1:]  # nothing that learns led there: the data did
    return [*path, loss_step(case, call.roots[0], call.frame)] if call.roots else path


def _range(made: Made) -> str:
    """` (its operand is 0 at 6 of 192 places, the highest 0.2)`."""
    kept = [look for look in made.looks if not look.slot.startswith("grad")]
    if not kept:
        return ""
    look = max(kept, key=lambda one: (one.zero > 0, one.numbers))
    name = {"result": "result", "tensors": "saved tensor"}.get(look.slot, "operand")
    where = f"0 at {look.zero} of {look.numbers} places, " if look.zero else ""
    return f" (its {name} is {where}between {look.low:.4g} and {look.high:.4g})"
