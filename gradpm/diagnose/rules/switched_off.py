"""Loss terms that are switched off: multiplied by a plain number which the source sets to 0."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from gradpm.diagnose.case import Case
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.statements import assigned
from gradpm.trace.schema import FileKind


def is_switched_off(case: Case, op: OpRow) -> bool:
    """Whether a scalar times a number is a term that the program itself gives the weight 0.

    A tensor of zeros (a mask) is another matter, and so is a number that comes out as 0 by
    integer division: nobody wrote that 0.
    """
    frame = case.places.frame(op.frame)
    if frame is None or len(op.ins) != 1 or not op.outs or case.facts.spec_of(op.outs[0]).shape:
        return False
    names = case.places.names_loaded(frame.path, frame.line)
    statement = case.places.code(frame.path).statement(frame.line)
    if statement is not None and _weighs_zero(statement):
        return True
    values = list(_values_of(case, names))
    return any(map(_has_zero, values)) and not any(map(_divides, values))


def _values_of(case: Case, names: frozenset[str]) -> Iterator[ast.expr]:
    """What the source gives these names: assignments, defaults, keyword and parser arguments."""
    for path, kind in case.trace.files:
        for statement in case.places.code(path).statements if kind is FileKind.USER else ():
            value = getattr(statement, "value", None)
            if isinstance(value, ast.expr) and assigned(statement).rsplit(".", 1)[-1] in names:
                yield value
            elif isinstance(statement, ast.Expr | ast.Assign):
                yield from _arguments(statement, names)
            elif isinstance(statement, ast.FunctionDef):
                plain = statement.args.args[-len(statement.args.defaults) :]
                pairs = [*zip(plain, statement.args.defaults, strict=False)]
                pairs += [
                    (argument, default)
                    for argument, default in zip(
                        statement.args.kwonlyargs, statement.args.kw_defaults, strict=True
                    )
                    if default is not None
                ]
                yield from (default for argument, default in pairs if argument.arg in names)


def _arguments(statement: ast.stmt, names: frozenset[str]) -> Iterator[ast.expr]:
    """`Config(aux=0.0)` and `add_argument("--aux", default=0.0)`."""
    for call in ast.walk(statement):
        if not isinstance(call, ast.Call):
            continue
        flags = {
            str(argument.value).lstrip("-").replace("-", "_")
            for argument in call.args
            if isinstance(argument, ast.Constant)
        }
        for keyword in call.keywords:
            if keyword.arg in names or (keyword.arg == "default" and flags & names):
                yield keyword.value


def _has_zero(value: ast.expr) -> bool:
    """Whether a plain 0 is what it may come out as: `0.0`, `0 if warm else 1`, `max(0, x)`."""
    if isinstance(value, ast.Constant):
        return type(value.value) in (int, float) and value.value == 0
    if isinstance(value, ast.IfExp):
        return _has_zero(value.body) or _has_zero(value.orelse)
    if isinstance(value, ast.Dict):
        return any(map(_has_zero, value.values))
    if isinstance(value, ast.List | ast.Tuple):
        return any(map(_has_zero, value.elts))
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
        return value.func.id in ("max", "min", "float") and any(map(_has_zero, value.args))
    return False


def _weighs_zero(statement: ast.stmt) -> bool:
    return any(
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Mult)
        and (_has_zero(node.left) or _has_zero(node.right))
        for node in ast.walk(statement)
    )


def _divides(value: ast.expr) -> bool:
    return any(isinstance(node, ast.FloorDiv) for node in ast.walk(value))
