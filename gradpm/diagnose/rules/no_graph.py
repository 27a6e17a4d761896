"""GP201: backward was called on a loss that has no graph; the cut is to blame, not the call."""

from __future__ import annotations

from collections import Counter

from gradpm.diagnose.backwards import Backward
from gradpm.diagnose.case import Case
from gradpm.diagnose.cuts import classify
from gradpm.diagnose.finding import Location, Severity
from gradpm.diagnose.flow import AtRoot
from gradpm.diagnose.paths import loss_step, path_to
from gradpm.diagnose.rivals import likeliest
from gradpm.diagnose.round_trip import UNSURE, came_back
from gradpm.diagnose.rules.unreached import dead_ends
from gradpm.diagnose.words import listed, place, sentence

SAYS = "does not require grad and does not have a grad_fn"


def find(case: Case) -> None:
    """The first engine call that torch refused for want of a graph: why there was none."""
    refused = [
        backward
        for backward in case.facts.backwards
        if 0 <= backward.error < len(case.trace.errors)
        and SAYS in case.trace.errors[backward.error].message
    ]
    if refused:
        first = max(refused, key=lambda backward: _severity(case, backward))
        _explain(case, first)


def _severity(case: Case, backward: Backward) -> Severity:
    """A note where the failure was provoked, and caught."""
    provoked = any(r.provoked and r.call is backward for r in case.raised)
    return Severity.NOTE if provoked else Severity.ERROR


def _explain(case: Case, backward: Backward) -> None:
    state = case.flow.roots.get(backward.number, AtRoot(backward.number))
    if state.lost and not (state.frozen and _harmless(case, backward, state)):
        _cut(case, backward, state)
    elif state.frozen:
        _frozen(case, backward, state)
    else:
        back = came_back(case, case.flow.escaped, backward)
        if back:
            lost = {row: case.flow.escaped[row] for row in back}
            _cut(case, backward, AtRoot(backward.number, lost=lost), UNSURE)
        else:
            _constant(case, backward)


def _harmless(case: Case, backward: Backward, state: AtRoot) -> bool:
    """Whether every cut stood in the way of earlier calls too, and they went well."""
    before = {
        classify(case, row).site
        for call in case.facts.backwards
        if call.number < backward.number and not call.raised and call.number in case.flow.roots
        for row in case.flow.roots[call.number].lost
    }
    return all(classify(case, row).site in before for row in state.lost)


def _cut(case: Case, backward: Backward, state: AtRoot, doubt: str = "") -> None:
    flow, words = case.flow, case.words
    cuts = [classify(case, row) for row in state.lost]
    best = likeliest(case, cuts, backward.op)
    bits = 0
    for row, cut in zip(state.lost, cuts, strict=True):
        if cut.site == best.site:
            bits |= state.lost[row]
    serials = flow.named(bits)
    subjects = words.parameters(serials)
    loss = words.tensor_name(backward.roots[0]) if backward.roots else "the loss"
    at = case.places.of(backward.frame, "backward")
    path = path_to(case, serials[0], set(backward.roots), backward.op, best.op.row)
    if backward.roots:
        path.append(loss_step(case, backward.roots[0], backward.frame))
    case.finding(
        "GP201",
        _severity(case, backward),
        f"`{loss}` has no graph: {best.what} at {place(best.culprit)} cut it off from every "
        "parameter",
        f"The backward() at {place(at)} raised because `{loss}` has no grad_fn. "
        f"{best.why} {doubt}".strip(),
        best.fix,
        subjects=subjects,
        locations=[best.culprit, *best.seconds, at],
        path=path,
        backward=backward.number + 1,
        backwards=1,
    )


def _frozen(case: Case, backward: Backward, state: AtRoot) -> None:
    flow, words = case.flow, case.words
    serials = flow.named(state.frozen)
    subjects = words.parameters(serials)
    culprit, callers = freezing_line(case, serials)
    at = case.places.of(backward.frame, "backward")
    loss = words.tensor_name(backward.roots[0]) if backward.roots else "the loss"
    path = path_to(case, serials[-1], set(backward.roots), backward.op)
    switched = any(serial in flow.switched_off for serial in serials)
    names = listed([subject.name for subject in subjects])
    title = f"`{loss}` has no graph: {names} it depends on never required grad"
    why = f"{names}, made at {place(culprit)}, was not told to require grad."
    fix = f"make `{subjects[-1].name}` with requires_grad=True at {place(culprit)}"
    if switched:
        count = f"all {len(serials)} parameters" if len(serials) > 1 else names
        title = (
            f"`{loss}` has no graph: {count} it depends on {_were(serials)} frozen at "
            f"{place(culprit)}"
        )
        why = (
            f"requires_grad was set to False at {place(culprit)} for every parameter involved, "
            "the ones meant to learn too."
        )
        fix = "freeze only the part that must not learn, or freeze before the new part is attached"
    case.finding(
        "GP201",
        _severity(case, backward),
        title,
        f"The backward() at {place(at)} raised because nothing that `{loss}` was computed from "
        f"requires grad. {sentence(why)}",
        fix,
        subjects=subjects,
        locations=[culprit, *callers, at],
        path=path,
        backward=backward.number + 1,
        backwards=1,
    )


def _were(serials: list[int]) -> str:
    return "was" if len(serials) == 1 else "were"


def freezing_line(case: Case, serials: list[int]) -> tuple[Location | None, list[Location]]:
    """(the line that froze most of them, the user's calls that led to it)."""
    flow = case.flow
    rows = [flow.switched_off[serial] for serial in serials if serial in flow.switched_off]
    if not rows:
        serial = serials[-1]
        made = case.facts.makers.get(serial)
        leaf = case.trace.leaves.get(serial)
        if made is not None and serial > 0:  # a plain tensor, noticed by the optimizer only
            return case.places.of(case.facts.op(made).frame, "culprit"), []
        return (case.places.of(leaf.frame, "culprit") if leaf else None), []
    frames = Counter(case.facts.op(row).frame for row in rows)
    stack, _ = frames.most_common(1)[0]
    users = case.places.user_frames(stack)
    called = [case.places.at(frame, "called from") for frame in users[1:]]
    return case.places.of(stack, "culprit"), [place for place in called if place is not None]


def _tracked_ends(case: Case, backward: Backward) -> dict[int, list[int]]:
    """Where the learners' results went nowhere before this call: row -> parameters."""
    found: dict[int, list[int]] = {}
    end = case.facts.row_at(backward.op)
    for serial in case.expected.learners:
        rows = [row for row in dead_ends(case, serial) if row < end]
        if rows:
            found.setdefault(max(rows), []).append(serial)
    return found


def _constant(case: Case, backward: Backward) -> None:
    """Nothing that requires grad ever went into the loss."""
    words = case.words
    root = backward.roots[0] if backward.roots else 0
    loss = words.tensor_name(root) if root else "the loss"
    row = case.facts.makers.get(root)
    culprit = case.places.of(case.facts.op(row).frame, "culprit") if row is not None else None
    at = case.places.of(backward.frame, "backward")
    unused = _tracked_ends(case, backward)
    kept = case.places.kept_at(case.facts.op(max(unused)).frame) if unused else None
    dropped = case.places.at(kept, "dropped")
    name = case.places.target_at(kept) if kept is not None else ""
    what = f"`{name}`" if name else "the model's output"
    told = f" What {place(dropped)} computes ({what}) is tracked, and goes nowhere."
    case.finding(
        "GP201",
        _severity(case, backward),
        f"`{loss}` has no graph: no tensor that requires grad went into it",
        f"The backward() at {place(at)} raised because `{loss}` was computed from constants alone"
        + ("." + told if dropped is not None else "."),
        f"compute `{loss}` from {what}"
        if dropped is not None
        else "compute the loss from the model's output, and let the parameters require grad",
        subjects=[
            *([words.tensor(root)] if root else []),
            *words.parameters(serial for serials in unused.values() for serial in serials),
        ],
        locations=[culprit, dropped, at],
        backward=backward.number + 1,
        backwards=1,
    )
