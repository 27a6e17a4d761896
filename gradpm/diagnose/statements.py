"""What a statement says of variables: which it fills, and what a person calls them."""

from __future__ import annotations

import ast

GRAD_MODES = {"no_grad", "inference_mode", "set_grad_enabled", "enable_grad"}


def mode_name(node: ast.expr) -> str:
    """`no_grad` for `torch.no_grad()`, `off` for `set_grad_enabled(False)` and anything unclear."""
    call = node.func if isinstance(node, ast.Call) else node
    name = call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "")
    if name == "set_grad_enabled":
        argument = node.args[0] if isinstance(node, ast.Call) and node.args else None
        constant = isinstance(argument, ast.Constant) and argument.value is True
        return "enable_grad" if constant else "off"
    return name if name in GRAD_MODES else ""


def assigned(statement: ast.stmt) -> str:
    """`h` for `h = ...`, `cache` for `self.cache = ...`; empty for anything else."""
    target: ast.expr | None = None
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
    elif isinstance(statement, (ast.AnnAssign, ast.AugAssign)):
        target = statement.target
    return variable(target) if target is not None else ""


def own_parts(statement: ast.stmt) -> list[ast.AST]:
    """The syntax of a statement itself, without the statements inside it."""
    found: list[ast.AST] = []
    queue: list[ast.AST] = [statement]
    while queue:
        node = queue.pop()
        found.append(node)
        queue += [c for c in ast.iter_child_nodes(node) if not isinstance(c, ast.stmt)]
    return found


def targets_of(statement: ast.stmt) -> set[str]:
    """The variables that a statement fills: assigned, looped over, or told to take something in."""
    nodes: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        nodes += statement.targets
    elif isinstance(statement, (ast.AnnAssign, ast.AugAssign, ast.For, ast.AsyncFor)):
        nodes.append(statement.target)
    elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        called = statement.value.func
        if isinstance(called, ast.Attribute):
            nodes.append(called.value)
    names: set[str] = set()
    while nodes:
        node = nodes.pop()
        if isinstance(node, (ast.Tuple, ast.List)):
            nodes += node.elts
        else:
            names.add(variable(node).rsplit(".", 1)[-1])
    return names - {"", "self", "_"}


def variable(node: ast.expr) -> str:
    """What a person calls the thing that an expression names."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = variable(node.value)
        return node.attr if inner in ("self", "") else f"{inner}.{node.attr}"
    if isinstance(node, ast.Subscript):
        return variable(node.value)
    if isinstance(node, ast.Starred):
        return variable(node.value)
    return ""
