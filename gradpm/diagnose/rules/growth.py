"""GP407: history that is kept from step to step, and grows."""

from __future__ import annotations

import ast

from gradpm.diagnose.case import Case
from gradpm.diagnose.crossing import Link, links_of
from gradpm.diagnose.finding import Location, Severity, Subject
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.rules import kept
from gradpm.diagnose.statements import variable
from gradpm.diagnose.words import is_nameless, place, spoken
from gradpm.trace.schema import Call

LONGEST_OWN = 4  # steps over which a chain may reach before it is told


def find(case: Case) -> None:
    """A value made anew of its old self in every step; or ever more of them, kept."""
    if not _chain(case):
        kept.find(case)


def _chain(case: Case) -> bool:
    links = links_of(case.facts) if len(case.facts.accumulating) >= LONGEST_OWN else {}
    if not links:
        return False
    longest = max(links.values(), key=lambda link: link.length)
    if longest.length < LONGEST_OWN:
        return False
    op = longest.op
    culprit, name = _carrier(case, op)
    inside = case.places.of(op.frame, "op")
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
        f"{spoken(op)} at {place(inside)} takes the `{name}` of the step before, with its "
        f"history, and makes the next. After {longest.length} steps it still holds the graph of "
        f"the first: {grows}.{slow}",
        _cure(case, op, name, bool(retain)),
        subjects=_subjects(case, op, name),
        locations=[culprit, at],
        backward=longest.first + 1,
        backwards=longest.length,
    )
    return True


def _carrier(case: Case, op: OpRow) -> tuple[Location | None, str]:
    """The line that carries a value from step to step, and its variable there.

    Where each function on the way takes the state and hands back the next one, as in
    `out, h = model(x, h)`, that is the line of the loop; `self.state = ...` keeps it inside.
    """
    best = case.places.of(op.frame, "culprit")
    name = case.places.target(op.frame) or case.words.tensor_name(op.outs[0])
    loops = {
        (frame.path, frame.first_line)
        for call in case.facts.accumulating[:1]
        for frame in case.places.user_frames(call.frame)
    }
    for frame in case.places.user_frames(op.frame):
        statement = case.places.code(frame.path).statement(frame.line)
        held, inside = _kept_by(statement)
        if held:
            best, name = case.places.at(frame, "culprit"), held
        if inside or (frame.path, frame.first_line) in loops:
            break
    return best, name


def _kept_by(statement: ast.stmt | None) -> tuple[str, bool]:
    """(the variable that a statement both reads and fills anew, whether an object keeps it)."""
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = list(statement.targets)
    elif isinstance(statement, ast.AugAssign):
        targets = [statement.target]
    for target in targets:
        for one in target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]:
            name = variable(one)
            reads = isinstance(statement, ast.AugAssign) or _reads(statement, one)
            if name and reads:
                return name, not isinstance(one, ast.Name)
    return "", False


def _reads(statement: ast.stmt | None, target: ast.expr) -> bool:
    value = statement.value if isinstance(statement, ast.Assign) else None
    wanted = ast.unparse(target)
    return any(
        isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)) and ast.unparse(node) == wanted
        for node in (ast.walk(value) if value is not None else ())
    )


def _subjects(case: Case, op: OpRow, name: str) -> list[Subject]:
    subject = case.words.tensor(op.outs[0])
    held = subject.name
    found = [Subject(subject.kind, name, subject.shape, subject.dtype, subject.serial)]
    if held != name and not is_nameless(held):
        found.append(subject)
    return found


def _nodes_per_step(case: Case, link: Link) -> int:
    """How many graph nodes one step adds, from the nodes of the calls that were read."""
    calls = [call for call in case.facts.accumulating if call.nodes]
    if not calls:
        return 0
    first, last = calls[0], calls[-1]
    if last.nodes > first.nodes:
        return max((last.nodes - first.nodes) // (last.number - first.number), 1)
    return first.nodes


def _cure(case: Case, op: OpRow, name: str, retained: bool) -> str:
    scalar = bool(op.specs) and not case.trace.spec(op.specs[0]).shape
    if retained and scalar:
        return (
            f"make `{name}` anew in each step, or add to it what is detached, and drop "
            "retain_graph=True"
        )
    if retained:
        several = op.name in ("lstm", "lstm_cell")
        cut = f"tuple(h.detach() for h in {name})" if several else f"{name}.detach()"
        return f"detach it between steps: `{name} = {cut}`, and drop retain_graph=True"
    if scalar:
        return f"add the numbers, not the tensors: use .item() on what goes into `{name}`"
    return f"let `{name}` take in values alone: use .detach() on what goes into it"
