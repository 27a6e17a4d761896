"""GP407: history that is kept from step to step, and grows."""

from __future__ import annotations

import ast
import bisect
from collections import Counter
from dataclasses import dataclass

from gradpm.diagnose.case import Case
from gradpm.diagnose.facts import Backward, OpRow
from gradpm.diagnose.finding import Location, Severity, Subject
from gradpm.diagnose.flow import NO_VALUE
from gradpm.diagnose.words import place, spoken
from gradpm.trace.model import Event
from gradpm.trace.schema import Call, FileKind, Op, Out, Table

NO_HISTORY = NO_VALUE | {"autograd.grad"}
KEEPS = int(Out.REQUIRES | Out.LEAF)
LONGEST_OWN = 4  # steps over which a chain may reach before it is told
FEWEST_KEPT = 6


@dataclass
class Link:
    """The last op of a chain that takes in, in each step, what it made in the step before."""

    op: OpRow
    length: int  # in steps
    first: int  # step in which it began


def find(case: Case) -> None:
    """A value made anew of its old self in every step; or ever more of them, kept."""
    if not _chain(case):
        _kept(case)


# -- a value computed from its old self -------------------------------------------------


def _chain(case: Case) -> bool:
    links = _links(case)
    if not links:
        return False
    longest = max(links.values(), key=lambda link: link.length)
    if longest.length < LONGEST_OWN:
        return False
    op = longest.op
    culprit = case.places.of(op.frame, "culprit")
    name = _carried_name(case, op)
    retain = [call for call in case.facts.accumulating if call.flags & Call.RETAIN]
    nodes = _nodes_per_step(case, longest)
    at = case.places.of(retain[0].frame, "backward") if retain else None
    grows = f"about {nodes} nodes more in each step" if nodes else "longer with each step"
    slow = (
        f" retain_graph=True at {place(at)} keeps backward from refusing it: each call walks "
        "through all steps so far."
        if at is not None
        else " Nothing runs backward through it; it only holds memory, more in each step."
    )
    case.finding(
        "GP407",
        Severity.ERROR,
        f"`{name}` keeps the graph of every step: {place(culprit)} computes it from its old value",
        f"{spoken(op)} at {place(culprit)} takes the `{name}` of the step before, with its "
        f"history, and makes the next. After {longest.length} steps it still holds the graph of "
        f"the first: {grows}.{slow}",
        _cure(case, op, name, bool(retain)),
        subjects=_subjects(case, op, name),
        locations=[culprit, at],
        backward=longest.first + 1,
        backwards=longest.length,
    )
    return True


def _links(case: Case) -> dict[int, Link]:
    """By stack: the last op there that took in a value of an earlier step with its history.

    This looks at every tracked row, so it reads columns and decodes no op.
    """
    facts = case.facts
    bounds = [call.op for call in facts.accumulating]
    if len(bounds) < LONGEST_OWN:
        return {}
    columns = facts.trace.table(Table.OP)
    ids, flags, names = columns["id"], columns["flags"], columns["name"]
    in_starts, ins, out_starts, outs, _, oflags = facts.ragged
    skipped = {n for n in set(names) if facts.trace.string(n) in NO_HISTORY}
    reach: dict[int, tuple[int, int, int]] = {}  # serial -> (step, steps behind it, first step)
    best: dict[int, tuple[int, int, int]] = {}
    step, tracked, elsewhere = 0, int(Op.OUT_REQUIRES), int(Op.IN_BACKWARD | Op.SETTER)
    for row in range(len(ids)):
        if not flags[row] & tracked or flags[row] & elsewhere or names[row] in skipped:
            continue
        step = bisect.bisect_right(bounds, ids[row], lo=step)
        behind, first, crossed = 0, step, False
        taken = ins[in_starts[row] : in_starts[row + 1]]
        for serial in taken:
            known = reach.get(serial)
            if known is not None:
                older = known[0] < step
                crossed |= older
                behind, first = max((behind, -first), (known[1] + older, -known[2]))
                first = -first
        for at in range(out_starts[row], out_starts[row + 1]):
            if oflags[at] & KEEPS == Out.REQUIRES:
                reach[outs[at]] = (step, behind, first)
        if crossed and behind:
            best[columns["frame"][row]] = (row, behind, first)
    return {frame: Link(facts.op(row), *link) for frame, (row, *link) in best.items()}


def _carried_name(case: Case, op: OpRow) -> str:
    """The variable that is both taken and made."""
    target = case.places.target(op.frame)
    if target:
        return target
    return case.words.tensor_name(op.outs[0])


def _subjects(case: Case, op: OpRow, name: str) -> list[Subject]:
    subject = case.words.tensor(op.outs[0])
    held = subject.name
    found = [Subject(subject.kind, name, subject.shape, subject.dtype, subject.serial)]
    if held != name:
        found.append(subject)
    return found


def _nodes_per_step(case: Case, link: Link) -> int:
    """How many graph nodes one step adds, from the nodes of the calls that were read."""
    counts = [call.nodes for call in case.facts.accumulating if call.nodes]
    if len(counts) > 1 and counts[-1] > counts[0]:
        return (counts[-1] - counts[0]) // max(len(counts) - 1, 1)
    return counts[0] if counts else 0


def _cure(case: Case, op: OpRow, name: str, retained: bool) -> str:
    if retained:
        return f"detach it between steps: `{name} = {name}.detach()`, and drop retain_graph=True"
    scalar = bool(op.specs) and not case.trace.spec(op.specs[0]).shape
    how = ".item()" if scalar else ".detach()"
    return f"add the numbers, not the tensors: use {how} on what goes into `{name}`"


# -- ever more of them, kept -------------------------------------------------------------


def _kept(case: Case) -> None:
    """Old tensors with their graphs that still lived, more each time that was looked."""
    events = [event for event in case.trace.events if event.kind == "alive"]
    if len(events) < 2:
        return
    last = events[-1]
    rows = _rows_by_frame(case, last)
    if not rows:
        return
    frame, kept = max(rows.items(), key=lambda item: len(item[1]))
    before = len(_rows_by_frame(case, events[0]).get(frame, ()))
    steps = {_step_of(case, op) for op in kept}
    if len(steps) < FEWEST_KEPT or not _count(last) > _count(events[0]) >= before > 0:
        return
    holder = str(last.detail.get("holder") or "")
    made = case.places.of(frame, "made")
    name = case.words.tensor_name(kept[0].outs[0])
    line = _keeping_line(case, kept[0], holder) or made
    calls = case.facts.accumulating
    subjects = [Subject("tensor", holder, None)] if holder else [case.words.tensor(kept[0].outs[0])]
    case.finding(
        "GP407",
        Severity.ERROR,
        f"`{holder or name}` keeps the graph of every step alive: {place(line)} stores `{name}` "
        "with its history",
        f"When step {len(calls)} was near, {_count(last)} tensors made at {place(made)} in earlier "
        f"steps still lived, each with the graph behind it ({_count(events[0])} when first "
        "looked at). Memory grows for as long as the run lasts.",
        f"store the number or the values: `{name}.item()`, or `{name}.detach()`",
        subjects=subjects,
        locations=[line, made],
        backward=events[0].backward,
        backwards=len(calls),
    )


def _count(event: Event) -> int:
    count = event.detail.get("count")
    return count if isinstance(count, int) else 0


def _rows_by_frame(case: Case, event: Event) -> dict[int, list[OpRow]]:
    """The ops that made the kept tensors, by the stack they ran in."""
    found: dict[int, list[OpRow]] = {}
    for serial in event.detail.get("serials") or ():
        row = case.facts.makers.get(serial)
        if row is not None:
            op = case.facts.op(row)
            found.setdefault(op.frame, []).append(op)
    return found


def _step_of(case: Case, op: OpRow) -> int:
    calls: list[Backward] = case.facts.accumulating
    return next((call.number for call in calls if call.op > op.id), -1)


def _keeping_line(case: Case, op: OpRow, holder: str) -> Location | None:
    """The statement that puts the tensor, or what a function gave back, into the container."""
    field = holder.rsplit(".", 1)[-1].split("[")[0]
    scores: Counter[tuple[str, int]] = Counter()
    for path, kind in case.trace.files:
        if kind is not FileKind.USER:
            continue
        for node in case.places.code(path).statements:
            score = _keeps(node, field)
            if score:
                scores[path, node.lineno] = score + _near(case, op, path, node)
    if not scores:
        return None
    (path, line), _ = scores.most_common(1)[0]
    return case.places.line(path, line, "culprit")


def _keeps(node: ast.stmt, field: str) -> int:
    """3: `field.append(...)`, `field[...] = ...`, `field += [...]`; 1: another container's."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        function = node.value.func
        if isinstance(function, ast.Attribute) and function.attr in (
            "append", "extend", "add", "insert", "appendleft", "setdefault", "put",
        ):  # fmt: skip
            return 3 if field and _mentions(function.value, field) else 1
    if isinstance(node, (ast.Assign, ast.AugAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(t, ast.Subscript) and field and _mentions(t, field) for t in targets):
            return 3
        if isinstance(node, ast.AugAssign) and field and _mentions(node.target, field):
            return 3
    return 0


def _mentions(node: ast.AST, name: str) -> bool:
    return any(
        (isinstance(inner, ast.Name) and inner.id == name)
        or (isinstance(inner, ast.Attribute) and inner.attr == name)
        for inner in ast.walk(node)
    )


def _near(case: Case, op: OpRow, path: str, node: ast.stmt) -> int:
    """2 more where the stored value is the variable that the op's line assigns; 1 in its stack."""
    target = case.places.target(op.frame)
    stored = node.value if isinstance(node, (ast.Assign, ast.AugAssign, ast.Expr)) else None
    near = 2 if target and stored is not None and _mentions(stored, target) else 0
    return near + any(
        frame.path == path and abs(frame.line - node.lineno) < 30
        for frame in case.places.user_frames(op.frame)
    )
