"""Custom autograd Functions: where their forward and backward are written."""

from __future__ import annotations

import ast

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location
from gradpm.diagnose.ops import OpRow


def definition(case: Case, op: OpRow, name: str) -> tuple[str, ast.FunctionDef | None]:
    """(file, syntax) of a Function's `forward` or `backward`."""
    found = case.trace.detail(op.detail).get(name)
    if not (isinstance(found, list) and len(found) == 3 and isinstance(found[0], str)):
        return "", None
    path, line, function = found
    node = case.places.code(path).function(int(line), str(function))
    return path, node if isinstance(node, ast.FunctionDef) else None


def marking_line(case: Case, op: OpRow) -> Location | None:
    """The `ctx.mark_non_differentiable(...)` line of a Function's forward."""
    for name in ("forward", "setup_context"):
        path, node = definition(case, op, name)
        for inner in ast.walk(node) if node is not None else ():
            if isinstance(inner, ast.Call) and getattr(inner.func, "attr", "") == (
                "mark_non_differentiable"
            ):
                return case.places.line(path, inner.lineno, "culprit", name)
    return None


def argument_at(case: Case, op: OpRow, position: int) -> int:
    """The place among all arguments of apply() of the tensor at `position` among the tensors."""
    places = case.trace.detail(op.detail).get("at")
    if isinstance(places, list) and len(places) == len(op.ins) and position < len(places):
        return int(places[position])
    return position


def argument_name(case: Case, op: OpRow, argument: int) -> str:
    """What a Function's forward calls its argument; empty where that cannot be told."""
    _, node = definition(case, op, "forward")
    if node is None:
        return ""
    names = [each.arg for each in (*node.args.posonlyargs, *node.args.args)]
    if definition(case, op, "setup_context")[1] is None:
        names = names[1:]  # ctx
    return names[argument] if argument < len(names) else ""


def returns(node: ast.FunctionDef) -> list[ast.Return]:
    """The return statements of a function itself, in order."""
    found = []
    queue: list[ast.AST] = list(node.body)
    while queue:
        at = queue.pop(0)
        if isinstance(at, ast.Return):
            found.append(at)
        elif not isinstance(at, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            queue += list(ast.iter_child_nodes(at))
    return sorted(found, key=lambda statement: statement.lineno)


def return_line(case: Case, op: OpRow, position: int) -> Location | None:
    """The return that gives the gradient of argument `position`; the last where unclear."""
    path, node = definition(case, op, "backward")
    if node is None:
        path, node = definition(case, op, "vjp")
    if node is None:
        return None
    found = returns(node)
    if not found:
        return case.places.line(path, node.lineno, "culprit", node.name)
    best = found[-1]
    for statement in found:
        value = statement.value
        parts = value.elts if isinstance(value, ast.Tuple) else [value]
        part = parts[position] if 0 <= position < len(parts) else None
        if isinstance(part, ast.Constant) and part.value is None:
            best = statement
    return case.places.line(path, best.lineno, "culprit", node.name)
