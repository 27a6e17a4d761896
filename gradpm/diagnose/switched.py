"""Who switched gradients off round an op, and which line a person must change for it."""

from __future__ import annotations

import ast

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.statements import own_parts
from gradpm.trace.model import Frame

FARTHEST = 200_000


def owner_of(case: Case, op: OpRow) -> tuple[Frame, list[Location]] | None:
    """(the frame whose line ran with gradients off, the lines that switched them off)."""
    mode = case.places.grad_mode(op.frame)
    if mode is None:
        return _by_manager(case, op)
    owner, entered = mode
    inner = case.places.user_frames(op.frame)
    at = next((i for i, frame in enumerate(inner) if frame.row == owner.row), 0)
    if at and _calls_what_it_wraps(case, owner):
        wrapped = inner[at - 1]
        decorated = _decorator(case, wrapped)
        return wrapped, [*([decorated] if decorated else []), entered]
    return owner, [entered]


def _calls_what_it_wraps(case: Case, frame: Frame) -> bool:
    """Whether the line calls a function that was given to the function around it: a decorator."""
    code = case.places.code(frame.path)
    statement = code.statement(frame.line)
    inner = code.function(frame.first_line, frame.function)
    if statement is None or inner is None:
        return False
    called = {
        node.func.id
        for node in own_parts(statement)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    for node in code.statements:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node is not inner:
            around = inner in ast.walk(node)
            if around and called & {argument.arg for argument in node.args.args}:
                return True
    return False


def _decorator(case: Case, frame: Frame) -> Location | None:
    """The first decorator of the function that a frame runs."""
    function = case.places.code(frame.path).function(frame.first_line, frame.function)
    if function is None or not function.decorator_list:
        return None
    line = function.decorator_list[0].lineno
    return case.places.line(frame.path, line, "decorated", frame.function)


def switch(case: Case, op: OpRow) -> OpRow | None:
    """The event before the op that switched gradients off; None when one switched them on."""
    facts = case.facts
    for row in range(op.row - 1, max(op.row - FARTHEST, -1), -1):
        other = facts.op(row)
        if other.name.endswith("set_grad_enabled"):
            on = facts.trace.detail(other.detail).get("on")
            if on is not None:
                return None if on else other
    return None


def _by_manager(case: Case, op: OpRow) -> tuple[Frame, list[Location]] | None:
    """A context manager of the user's own: the `with` that entered it is round the op's line."""
    event = switch(case, op)
    entered = case.places.user_frames(event.frame) if event is not None else []
    if len(entered) < 2:
        return None
    inside = case.places.code(entered[0].path).statement(entered[0].line)
    if not isinstance(inside, (ast.With, ast.AsyncWith)):
        return None
    for frame in case.places.user_frames(op.frame):
        for other in entered[1:]:
            same = (frame.path, frame.first_line) == (other.path, other.first_line)
            block = case.places.code(other.path).statement(other.line) if same else None
            if isinstance(block, (ast.With, ast.AsyncWith)) and block in case.places.code(
                frame.path
            ).enclosing(frame.line):
                places = [case.places.at(f, "grad mode") for f in (other, entered[0])]
                return frame, [place for place in places if place is not None]
    return None
