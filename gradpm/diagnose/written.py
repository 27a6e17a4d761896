"""What stands in the user's line: the expression that an op was applied to, as they wrote it."""

from __future__ import annotations

import ast

from gradpm.diagnose.case import Case
from gradpm.diagnose.ops import OpRow
from gradpm.trace.model import Frame

LONGEST = 60  # characters of an expression that a fix repeats
SIGNS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip


def written(case: Case, op: OpRow) -> tuple[str, str]:
    """(what the op was applied to, the whole expression) as they stand in the user's line."""
    stack = case.trace.stack(op.frame)
    frame = case.places.frame(op.frame)
    if not stack or frame is None or stack[0].row != frame.row:
        return "", ""
    node = case.places.expression(frame)
    inner: ast.expr | None = None
    if isinstance(node, ast.Attribute):
        inner = node.value
    elif isinstance(node, ast.Call):
        called = node.func
        if isinstance(called, ast.Attribute) and not _is_module(case, frame, called.value):
            inner = called.value if called.attr == op.name else None
        elif node.args:
            inner = node.args[0]
    if node is None or inner is None or isinstance(inner, ast.Starred):
        return "", ""
    given, whole = case.places.unparsed(inner), case.places.unparsed(node)
    return (given, whole) if len(whole) <= LONGEST else ("", "")


def difference(case: Case, op: OpRow) -> str:
    """`score - self.threshold` for the comparison `score > self.threshold` in the user's line."""
    node = case.places.expression(case.places.frame(op.frame))
    if not isinstance(node, ast.Compare) or len(node.ops) != 1:
        return ""
    sides = [ast.unparse(node.left), ast.unparse(node.comparators[0])]
    if isinstance(node.ops[0], (ast.Lt, ast.LtE)):
        sides.reverse()
    return " - ".join(sides) if len("".join(sides)) <= LONGEST else ""


def comparison(case: Case, op: OpRow) -> str:
    """The comparison as the user wrote it: torch runs `a < p` as `p > a` for a parameter `p`."""
    node = case.places.expression(case.places.frame(op.frame))
    if not isinstance(node, ast.Compare) or len(node.ops) != 1:
        return ""
    sign = SIGNS.get(type(node.ops[0]), "")
    return f"the comparison `{sign}`" if sign else ""


def _is_module(case: Case, frame: Frame, node: ast.expr) -> bool:
    """Whether an expression is a module that the file imports: `torch`, `nn`, `np.linalg`."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and any(
        (alias.asname or alias.name).partition(".")[0] == node.id
        for statement in case.places.code(frame.path).statements
        if isinstance(statement, (ast.Import, ast.ImportFrom))
        for alias in statement.names
    )
