"""The node at which the engine stopped: the op behind it, and who waits for a gradient in vain."""

from __future__ import annotations

import ast
from typing import Any

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location
from gradpm.diagnose.graphs import Node
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.raised import Raised
from gradpm.trace.schema import Leaf, Op


def failed_node(case: Case, raised: Raised, name: str = "") -> Node | None:
    """The last node that the engine began; else the newest one of this name."""
    if raised.call is None:
        return None
    nodes = case.graphs.of(raised.call)
    last = raised.error.detail.get("last")
    at = last if isinstance(last, int) else -1
    if 0 <= at < len(nodes) and name in ("", nodes[at].name):
        return nodes[at]
    named = [node for node in nodes if name and node.name == name]
    return max(named, key=lambda node: node.seq, default=None)


def op_behind(case: Case, raised: Raised, node: Node | None) -> OpRow | None:
    """The forward op: for a node that an earlier backward made, the op whose backward that was."""
    if node is None:
        return None
    born = raised.error.detail.get("born")
    origin = born.get(str(node.at)) if isinstance(born, dict) else None
    if isinstance(origin, int):
        row = case.graphs.row_of(origin)
        if row >= 0:
            return case.facts.op(row)
    return case.graphs.op(node)


def unserved(case: Case, raised: Raised, node: Node | None) -> list[int]:
    """Parameters that the failed call was to reach and did not; those behind the node first."""
    call = raised.call
    if call is None:
        return []
    nodes = case.graphs.of(call)
    waiting = {
        serial
        for serial, grad in call.grads.items()
        if grad.requires and not grad.flags & Leaf.FRESH and _is_named(case, serial)
    }
    in_graph = {n.leaf for n in nodes if n.leaf}
    behind = _leaves_behind(nodes, node.at) if node is not None else set()
    found = waiting & behind or waiting & in_graph or waiting
    found = {serial for serial in found if serial < 0} or found  # parameters, if there are any
    return sorted(found, key=lambda serial: (serial > 0, abs(serial)))


def _is_named(case: Case, serial: int) -> bool:
    """A parameter, or a tensor that a variable or an optimizer holds."""
    return serial < 0 or bool(case.trace.name(serial)) or serial in case.facts.owners


def _leaves_behind(nodes: list[Node], start: int) -> set[int]:
    queue, seen = [start], {start}
    found = set()
    while queue:
        at = queue.pop()
        if nodes[at].leaf:
            found.add(nodes[at].leaf)
        for child in nodes[at].edges:
            if child not in seen and child < len(nodes):
                seen.add(child)
                queue.append(child)
    return found


def written_at(case: Case, op: OpRow | None, method: str) -> list[Any]:
    """[file, first line, name] of a custom Function's method, or of a hook."""
    if op is None:
        return []
    found = case.trace.detail(op.detail).get(method)
    if isinstance(found, list) and len(found) == 3 and isinstance(found[1], int):
        return found
    return []


def definition(case: Case, written: list[Any]) -> ast.AST | None:
    """The syntax of a function known by file, first line and name; a lambda too."""
    if not written:
        return None
    path, first, name = str(written[0]), int(written[1]), str(written[2])
    code = case.places.code(path)
    function = code.function(first, name)
    if function is not None:
        return function
    tree = code.tree
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Lambda) and node.lineno == first:
            return node
    return None


def returned_at(case: Case, written: list[Any], raised: Raised, count: int = -1) -> Location | None:
    """The `return` that gave the value: by its number of values, else the one reached last."""
    node = definition(case, written)
    if node is None:
        if written:
            return case.places.line(str(written[0]), int(written[1]), "culprit", str(written[2]))
        return None
    path, name = str(written[0]), str(written[2])
    if isinstance(node, ast.Lambda):
        return case.places.line(path, node.lineno, "culprit", name)
    returns = [n for n in _own_statements(node) if isinstance(n, ast.Return)]
    if not returns:
        return case.places.line(path, node.lineno, "culprit", name)  # type: ignore[attr-defined]
    counted = [r for r in returns if _count(r) == count] or returns
    reached = _last_line(case, path, name, raised)
    after = [r for r in counted if (r.end_lineno or r.lineno) >= reached]
    best = min(after, key=lambda r: r.lineno) if reached and after else counted[-1]
    return case.places.line(path, best.lineno, "culprit", name)


def _own_statements(function: ast.AST) -> list[ast.AST]:
    """The statements of a function without those of functions inside it."""
    found: list[ast.AST] = []
    queue = list(ast.iter_child_nodes(function))
    while queue:
        node = queue.pop(0)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            continue
        found.append(node)
        queue += ast.iter_child_nodes(node)
    return sorted(found, key=lambda n: getattr(n, "lineno", 0))


def _count(node: ast.Return) -> int:
    if isinstance(node.value, ast.Tuple):
        return len(node.value.elts)
    return 1 if node.value is not None else 0


def _last_line(case: Case, path: str, name: str, raised: Raised) -> int:
    """The line of this function at which an op last ran inside the failed engine call."""
    facts = case.facts
    end = facts.row_at(raised.error.op)
    first = facts.row_at(raised.call.op) if raised.call is not None else 0
    for row in range(end - 1, first - 1, -1):
        op = facts.op(row)
        if not op.has(Op.IN_BACKWARD):
            continue
        for frame in case.places.user_frames(op.frame):
            if frame.path == path and frame.function.endswith(name.rsplit(".", 1)[-1]):
                return frame.line
    return 0
