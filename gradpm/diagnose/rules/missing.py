"""GP101 to GP104, GP107, GP111 and GP114: expected to learn, and never got a gradient."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from gradpm.diagnose.aside import steering, written_aside
from gradpm.diagnose.case import Case
from gradpm.diagnose.cut import Cut
from gradpm.diagnose.cuts import classify
from gradpm.diagnose.finding import Location, Severity
from gradpm.diagnose.handed import leaves_torch
from gradpm.diagnose.losing import Lost
from gradpm.diagnose.op_names import SWITCHES
from gradpm.diagnose.paths import loss_step, path_to
from gradpm.diagnose.rivals import likeliest
from gradpm.diagnose.round_trip import UNSURE, feeds
from gradpm.diagnose.rules.unreached import (
    Group,
    dead_end_row,
    dropped_at,
    forgotten_loss,
    tell_off_path,
    tell_unreached,
)
from gradpm.diagnose.words import place, sentence
from gradpm.trace.schema import Op


@dataclass
class Cause:
    """One cut and the parameters that it explains."""

    cut: Cut
    serials: list[int] = field(default_factory=list)
    calls: set[int] = field(default_factory=set)


def find(case: Case) -> None:
    """Explain every starved parameter; each by one cause."""
    starved = [s for s in case.expected.starved if s not in case.explained]
    if not starved:
        return
    causes: dict[tuple[str, str, int], Cause] = {}
    left_over = []
    cuts = {serial: _cut_of(case, serial) for serial in starved}
    stopped = _tell_stopped(case, cuts)
    for serial in (serial for serial in starved if serial not in stopped):
        found = cuts[serial]
        if found is None:
            left_over.append(serial)
            continue
        cut, calls = found
        cause = causes.setdefault(cut.site, Cause(cut))
        cause.serials.append(serial)
        cause.calls |= calls
    for cause in causes.values():
        tell_cut(case, cause.cut, cause.serials, sorted(cause.calls))
    if not case.was_cut_short:
        tell_unreached(case, left_over)


def _tell_stopped(case: Case, starved: dict[int, tuple[Cut, set[int]] | None]) -> set[int]:
    """Detached on purpose on the way to one loss, while their own loss got no backward()."""
    groups: dict[tuple[str, int], Group] = {}
    cuts: dict[tuple[str, int], Cut] = {}
    for serial, found in starved.items():
        row = forgotten_loss(case, serial) if found and found[0].code == "GP101" else -1
        location = dropped_at(case, row) if row >= 0 else None
        if found is None or location is None:
            continue
        key = (location.file, location.line)
        groups.setdefault(key, Group("GP107", location, row)).serials.append(serial)
        cuts.setdefault(key, found[0])
    for key, group in groups.items():
        cut = cuts[key]
        tell_off_path(
            case, group, cut.culprit,
            note=f" In the other loss {cut.what} at {place(cut.culprit)} keeps it out.",
        )  # fmt: skip
    return {serial for group in groups.values() for serial in group.serials}


def _cut_of(case: Case, serial: int) -> tuple[Cut, set[int]] | None:
    """The cut that starves one parameter: at the site that most calls' roots speak of."""
    flow = case.flow
    bit = flow.bit[serial]
    calls: dict[int, set[int]] = {}
    for number in case.expected.calls_for(serial):
        state = flow.roots.get(number)
        if state is None or state.tracked & bit:
            continue
        for row in who_cut(state.lost, bit):
            calls.setdefault(row, set()).add(number)
    if not calls:
        return (
            _in_new_leaf(case, serial)
            or _elsewhere(case, serial, written_aside(case, serial, dead_end_row))
            or _escaped(case, serial)
            or _elsewhere(case, serial, steering(case, serial))
        )
    cuts = [classify(case, row) for row in calls]
    last = max(min(numbers) for numbers in calls.values())
    before = next(call.op for call in case.facts.backwards if call.number == last)
    best = likeliest(case, cuts, before)
    same = [cut.op.row for cut in cuts if cut.site == best.site]
    return best, set().union(*(calls[row] for row in same))


def _elsewhere(case: Case, serial: int, cut: Cut | None) -> tuple[Cut, set[int]] | None:
    """A cut whose value does not reach the loss as data."""
    state = [case.flow.roots.get(number) for number in case.expected.calls_for(serial)]
    if cut is None or any(s is not None and s.tracked & case.flow.bit[serial] for s in state):
        return None
    return cut, set(case.expected.calls_for(serial))


def _in_new_leaf(case: Case, serial: int) -> tuple[Cut, set[int]] | None:
    """Its value went into a new leaf, and that one got a gradient in its place."""
    bit, leaves = case.flow.bit[serial], case.trace.leaves
    rows = {
        row
        for other, lost in case.flow.lost.items()
        if other in leaves and other in case.expected.received and other != serial
        for row in who_cut(lost, bit)
    }
    if not rows:
        return None
    best = min((classify(case, row) for row in rows), key=lambda cut: (cut.rank, cut.op.row))
    return best, set(case.expected.calls_for(serial))


def who_cut(lost: Lost, bit: int) -> list[int]:
    """The rows at which this bit stopped being tracked."""
    return [row for row, bits in lost.items() if bits & bit]


def _escaped(case: Case, serial: int) -> tuple[Cut, set[int]] | None:
    """Left torch and was never recognised again, while new constants came in: by order."""
    flow = case.flow
    bit = flow.bit[serial]
    numbers = case.expected.judged_in.get(serial, [])
    if not numbers or any(flow.roots[n].tracked & bit for n in numbers if n in flow.roots):
        return None
    if case.flow.touched[serial].last_tracked < 0 and not flow.escapes(serial):
        return None
    if _dropped(case, serial):
        return None
    last = max((b.op for b in case.facts.backwards if b.number in numbers), default=0)
    rows = [
        row
        for row, bits in flow.escaped.items()
        if bits & bit and case.facts.op(row).id < last and feeds(case, row)
    ]
    if not rows:
        return None
    cut = classify(case, rows[0])
    unsure = f"{cut.why} {UNSURE}"
    return replace(cut, why=unsure), set(numbers)


def _dropped(case: Case, serial: int) -> bool:
    """Whether some tracked result made of it was simply dropped: that says GP107, not GP104."""
    row = dead_end_row(case, serial)
    return row >= 0 and not leaves_torch(case, case.facts.op(row).outs)


def tell_cut(case: Case, cut: Cut, serials: list[int], calls: list[int]) -> None:
    """One cut, all the parameters it explains."""
    words = case.words
    subjects = words.parameters(serials)
    who = words.who(subjects, serials)
    first = _call(case, calls)
    title = f"{who} got no gradient: {cut.what} at {place(cut.culprit)} cut the path to the loss"
    one = len(subjects) == 1
    explanation = (
        f"{sentence(cut.why)} {sentence(who)} {'stays' if one else 'stay'} behind the cut: "
        f"backward() leaves {'its' if one else 'their'} `.grad` None"
    )
    if any(serial in case.facts.owners for serial in serials):
        explanation += f", and the optimizer passes {'it' if one else 'them'} by"
    explanation += "."
    at = case.places.of(first.frame, "backward") if first is not None else None
    silenced = _silenced(case, first.roots) if first is not None else None
    if silenced is not None:
        explanation += (
            f" Setting requires_grad on the loss at {place(silenced)} only silences the error that "
            "backward() would raise; it brings no history back."
        )
    path = []
    if first is not None:
        path = path_to(case, serials[0], set(first.roots), first.op, cut.op.row)
        if first.roots:
            path.append(loss_step(case, first.roots[0], first.frame))
    case.finding(
        cut.code,
        Severity.ERROR,
        title,
        explanation,
        cut.fix,
        subjects=subjects,
        locations=[cut.culprit, *cut.seconds, silenced, at],
        path=path,
        backward=first.number + 1 if first is not None else None,
        backwards=len(calls),
    )


def _silenced(case: Case, roots: tuple[int, ...]) -> Location | None:
    """Where a loss without history was told to require grad."""
    for root in roots:
        for row in case.facts.users.get(root, ()):
            op = case.facts.op(row)
            if op.name in SWITCHES and not op.has(Op.NONE_SET):
                return case.places.of(op.frame, "silenced")
    return None


def _call(case: Case, calls: list[int]):  # type: ignore[no-untyped-def]
    return next((b for b in case.facts.backwards if b.number in calls), None)
