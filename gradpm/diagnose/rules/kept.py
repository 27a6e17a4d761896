"""GP407: tensors with their graphs that are kept, more in each step."""

from __future__ import annotations

import ast
from collections import Counter

from gradpm.diagnose.backwards import Backward
from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location, Severity, Subject
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.words import is_nameless, place, quoted
from gradpm.trace.model import Event
from gradpm.trace.schema import FileKind

FEWEST = 6


def find(case: Case) -> None:
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
    if len(steps) < FEWEST or not _count(last) > _count(events[0]) >= before > 0:
        return
    holder = str(last.detail.get("holder") or "")
    made = case.places.of(frame, "made")
    line = _keeping_line(case, kept[0], holder) or made
    name = case.words.tensor_name(kept[0].outs[0])
    if is_nameless(name):
        name = _stored(case, line) or "it"
    scalar = not case.facts.spec_of(kept[0].outs[0]).shape
    calls = case.facts.accumulating
    nodes = next((call.nodes for call in calls if call.nodes), 0)
    graph = f"the graph of about {nodes} nodes" if nodes else "the graph"
    subjects = [Subject("tensor", holder, None)] if holder else []
    subjects.append(case.words.tensor(kept[0].outs[0]))
    case.finding(
        "GP407",
        Severity.ERROR,
        f"`{holder or name}` keeps the graph of every step alive: {place(line)} stores "
        f"{quoted(name)} with its history",
        f"After {last.backward} calls of backward() {_count(last)} tensors of earlier steps still "
        f"lived, each with {graph} behind it, those of {place(made)} above all; after "
        f"{events[0].backward} calls there were {_count(events[0])}. Memory grows for as long as "
        "the run lasts.",
        f"store the number: `{name}.item()`, or `{name}.detach()`"
        if scalar and name != "it"
        else f"store {f'`{name}.detach()`' if name != 'it' else 'it detached'} at {place(line)}, "
        "which keeps the values and lets the graph go",
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


def _stored(case: Case, line: Location | None) -> str:
    """What the statement of a line puts into a container, where that is a variable."""
    statement = case.places.code(line.file).statement(line.line) if line is not None else None
    value = statement.value if isinstance(statement, (ast.Expr, ast.Assign)) else None
    if isinstance(value, ast.Call) and isinstance(statement, ast.Expr):
        value = value.args[-1] if value.args else None
    return ast.unparse(value) if isinstance(value, (ast.Name, ast.Attribute)) else ""


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
