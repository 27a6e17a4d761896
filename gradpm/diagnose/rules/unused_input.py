"""GP208: autograd.grad was asked for the gradient of a tensor that is not in the graph."""

from __future__ import annotations

import re

from gradpm.diagnose.ancestry import ancestors
from gradpm.diagnose.backwards import Backward
from gradpm.diagnose.case import Case
from gradpm.diagnose.cut import Cut
from gradpm.diagnose.cuts import classify
from gradpm.diagnose.finding import Location, Step
from gradpm.diagnose.flow import AtRoot, Flow
from gradpm.diagnose.paths import loss_step, path_to
from gradpm.diagnose.raised import Raised
from gradpm.diagnose.words import place, quoted, sentence, spoken
from gradpm.trace.schema import LinkHow, Op, Table

UNUSED = re.compile(r"Tensors? (?:at index (\d+) )?appears? to not have been used")
ASKING = frozenset(("requires_grad_", "requires_grad.__set__"))
NO_GRAD = "One of the differentiated Tensors does not require grad"


def find(case: Case) -> None:
    """The first refusal at each line."""
    for raised in case.raised:
        if raised.taken or raised.call is None:
            continue
        match = UNUSED.search(raised.message)
        if match or NO_GRAD in raised.message:
            raised.taken = True
            index = int(match.group(1)) if match and match.group(1) else -1
            _tell(case, raised, raised.call, index)


def _unused(case: Case, call: Backward, index: int, *, untracked: bool) -> list[int]:
    """The inputs that the graph does not hold, the one that torch names first."""
    reached = {node.leaf for node in case.graphs.of(call) if node.leaf}
    rows = {node.row for node in case.graphs.of(call)}
    found = [call.inputs[index]] if 0 <= index < len(call.inputs) else []
    for serial in call.inputs:
        maker = case.facts.makers.get(serial)
        leaf = serial in case.trace.leaves or maker is None
        inside = serial in reached if leaf else maker in rows
        if serial not in found and not inside:
            found.append(serial)
    if untracked:
        found = [s for s in found if not _requires(case, s)] or found
    return found or list(call.inputs[:1])


def _requires(case: Case, serial: int) -> bool:
    leaf = case.trace.leaves.get(serial)
    if leaf is not None:
        return bool(leaf.flags & 1)
    row = case.facts.makers.get(serial)
    if row is None:
        return True
    op = case.facts.op(row)
    return op.requires(op.outs.index(serial))


def _tell(case: Case, raised: Raised, call: Backward, index: int) -> None:
    untracked = NO_GRAD in raised.message
    serials = _unused(case, call, index, untracked=untracked)
    first = serials[0]
    frame = case.places.frame(call.frame)
    culprit = case.places.at(frame, "culprit")
    subjects = [case.called.subject(serial, frame) for serial in serials]
    name = subjects[0].name
    cut, seconds = _cut(case, call, first)
    output = _output(case, call)
    why, fix = _reason(case, first, name, output, cut, untracked=untracked)
    early = _used_before_asked(case, call, first) if cut is None and not untracked else None
    if early is not None:
        used, asked = early
        seconds = [used, asked, *seconds]
        why = (
            f"`{name}` went into the forward at {place(used)}, before requires_grad was asked of "
            f"it at {place(asked)}: what was computed until then does not know of it."
        )
        fix = f"ask for requires_grad before `{name}` is used: move {place(asked)} above the use"
    path = path_to(case, first, set(call.roots), call.op, cut.op.row if cut is not None else -1)
    if call.roots:
        path.append(loss_step(case, call.roots[0], call.frame))
    title = (
        f"`{name}` does not require grad: autograd.grad at {place(culprit)} cannot differentiate "
        "with respect to it"
        if untracked
        else f"{sentence(quoted(output))} does not depend on `{name}`: autograd.grad at "
        f"{place(culprit)} asked for its gradient in vain"
    )
    case.finding(
        "GP208",
        raised.severity,
        title,
        f"The call at {place(culprit)} asks for the derivative of {quoted(output)} with "
        f"respect to `{name}`. {why}{raised.end}",
        fix,
        subjects=subjects,
        locations=[culprit, *seconds],
        path=path if len(path) > 1 else [Step("cut", "autograd.grad", name, culprit)],
        backward=raised.number,
        backwards=1,
    )


def _output(case: Case, call: Backward) -> str:
    """What was differentiated: a name, or how the call's own line computes it."""
    frame = case.places.frame(call.frame)
    if not call.roots:
        return "the output"
    root = call.roots[0]
    if case.called.known(root, frame):
        return case.called.name(root, frame)
    return case.called.expressed(root) or case.called.name(root, frame)


def _cut(case: Case, call: Backward, serial: int) -> tuple[Cut | None, list[Location]]:
    """Where the tensor's own path was cut; else where it was made, copied or left unused."""
    flow = Flow(case.facts, [serial]).run()
    state = flow.roots.get(call.number, AtRoot(call.number))
    rows = [*state.lost] or [r for r, bits in flow.escaped.items() if case.facts.op(r).id < call.op]
    cuts = sorted((classify(case, row) for row in rows), key=lambda cut: (cut.rank, cut.op.row))
    if cuts:
        best = cuts[0]
        found = [best.culprit, *best.seconds]
        return best, [location for location in found if location is not None]
    seconds = []
    copied = _copy_of(case, serial)
    if copied is not None:
        seconds.append(copied)
    made = case.facts.makers.get(serial)
    frame = case.facts.op(made).frame if made is not None else 0
    leaf = case.trace.leaves.get(serial)
    if not frame and leaf is not None:
        frame = leaf.frame
    location = case.places.of(frame, "made") if frame else None
    return None, [*seconds, *([location] if location is not None else [])]


def _used_before_asked(case: Case, call: Backward, serial: int) -> tuple[Location, Location] | None:
    """(where it went into the roots, where requires_grad was asked of it later)."""
    asked = used = None
    for row in sorted(case.facts.users.get(serial, ())):
        op = case.facts.op(row)
        if op.name in ASKING and not op.has(Op.NONE_SET):
            asked = op
            break
    if asked is None:
        return None
    for row in ancestors(case.facts, call.roots, call.op):
        op = case.facts.op(row)
        if serial in op.ins and serial not in op.outs:
            used = op
            break
    if used is None or used.id > asked.id:
        return None
    places = case.places.of(used.frame, "used before"), case.places.of(asked.frame, "asked")
    return (places[0], places[1]) if places[0] and places[1] else None


def _copy_of(case: Case, serial: int) -> Location | None:
    """Where a copy of the tensor was made, which may be what was used instead."""
    columns = case.trace.table(Table.LINK)
    rows = zip(columns["op"], columns["source"], columns["how"], strict=True)
    for op, source, how in rows:
        if source == serial and how in (LinkHow.COPY, LinkHow.WRAP):
            row = case.trace.op_row.get(op)
            if row is not None:
                return case.places.of(case.facts.op(row).frame, "copied")
    return None


def _reason(
    case: Case, serial: int, name: str, output: str, cut: Cut | None, *, untracked: bool
) -> tuple[str, str]:
    """(why it is not in the graph, the cure)."""
    if untracked:
        return (
            f"`{name}` had requires_grad=False, so no op recorded how {quoted(output)} depends on "
            "it.",
            f"call `{name}.requires_grad_()` before {quoted(output)} is computed from it",
        )
    if cut is not None:
        return (
            f"Its value does go into {quoted(output)}, but {cut.what} at {place(cut.culprit)} cut "
            f"the path. {cut.why}",
            cut.fix,
        )
    row = case.facts.makers.get(serial)
    base = case.memory.root(serial)
    if row is not None and base != serial:
        owner = case.called.name(base)
        how = spoken(case.facts.op(row))
        return (
            f"`{name}` was made from `{owner}` by {how}, and {quoted(output)} was computed from "
            f"`{owner}` itself: the slice is a branch of its own that leads nowhere.",
            f"compute {quoted(output)} from `{name}` (take `{owner}` apart first, join the parts "
            f"by torch.cat), or differentiate with respect to `{owner}` and slice its gradient",
        )
    return (
        f"No recorded op leads from `{name}` to {quoted(output)}.",
        f"compute {quoted(output)} from `{name}`, differentiate with respect to the tensor that "
        "was used, or pass allow_unused=True if this is meant",
    )
