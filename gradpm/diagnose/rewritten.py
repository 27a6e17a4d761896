"""A statement that writes in place, as it stands in the source, and what to write instead."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.places import Places
from gradpm.diagnose.statements import variable
from gradpm.diagnose.syntax import FUNCTIONS
from gradpm.trace.model import Frame

Spell = Callable[[ast.expr], str]
LONGEST = 88
FRESH = {  # what has no form of its own that makes a new tensor
    "zero_": "torch.zeros_like({})",
    "normal_": "torch.randn_like({})",
    "uniform_": "torch.rand_like({})",
}
NO_TWIN = frozenset(
    """set_ resize_ resize_as_ random_ exponential_ geometric_ cauchy_ log_normal_ copy_
    fill_ fill_diagonal_ apply_ map_ map2_""".split()
)
SIGNS: dict[type[ast.operator], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**", ast.Mod: "%",
    ast.MatMult: "@", ast.FloorDiv: "//", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^",
}  # fmt: skip
LIBRARIES = frozenset("torch F nn functional init".split())


@dataclass(frozen=True, slots=True)
class Rewritten:
    """An in-place write as the user spells it."""

    name: str  # what a person calls the tensor at that line: `std` for `self.std`
    text: str  # as it is written there: `self.std`
    instead: str  # the statement that makes a new tensor; empty where there is no such
    in_parts: bool = False  # an element or a row of it: there is no such statement
    after: str = ""  # what else must be done for it: handing the new tensor back


def rewritten(places: Places, frame: Frame | None, op: OpRow) -> Rewritten | None:
    """The write that ran at a frame; None when its target has no name of its own."""
    if frame is None:
        return None
    code = places.code(frame.path)
    statement = code.statement(frame.line)
    spell = partial(places.spelled, frame.path)
    if isinstance(statement, ast.AugAssign):
        found = _augmented(statement, op, spell)
    else:
        found = _called(statement, places.expression(frame), op, spell)
    if found is None or not found.instead or "." in found.text:
        return found
    around = code.enclosing(frame.line)
    if any(_loops_over(node, found.text) for node in around):
        return Rewritten(found.name, found.text, "", True)
    functions = [node for node in around if isinstance(node, FUNCTIONS)]
    inner = max(functions, key=lambda node: node.lineno, default=None)
    if inner is not None and _takes(inner, found.text) and not _used(inner, found.text, statement):
        return Rewritten(
            found.name, found.text, found.instead, after=" and return it to the caller"
        )
    return found


def _augmented(statement: ast.AugAssign, op: OpRow, spell: Spell) -> Rewritten | None:
    target, name = statement.target, variable(statement.target)
    if not name or op.name == "__setitem__":
        return None
    text = spell(target)
    if isinstance(target, ast.Subscript):
        return Rewritten(name, text, "", True)
    value = spell(statement.value)
    if isinstance(statement.value, (ast.BinOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.UnaryOp)):
        value = f"({value})"
    sign = SIGNS.get(type(statement.op), "")
    whole = f"{text} = {text} {sign} {value}"
    return Rewritten(name, text, whole if len(whole) <= LONGEST else f"{text} = {text} {sign} ...")


def _called(
    statement: ast.stmt | None, call: ast.expr | None, op: OpRow, spell: Spell
) -> Rewritten | None:
    """`x.clamp_(0)`, `torch.relu_(x)`, `F.dropout(x, inplace=True)`."""
    if statement is None or not isinstance(call, ast.Call):
        return None
    target = _written_to(call, op)
    if target is None or isinstance(target, ast.Call) or not variable(target):
        return None
    text = spell(target)
    if isinstance(target, ast.Subscript):
        return Rewritten(variable(target), text, "", True)
    value = _value(call, text, op.name, spell)
    left = ""
    if isinstance(statement, ast.Expr) and statement.value is call:
        left = f"{text} = "
    elif isinstance(statement, ast.Assign) and statement.value is call:
        left = f"{spell(statement.targets[0])} = "
    return Rewritten(variable(target), text, left + value if value else "")


def _written_to(call: ast.Call, op: OpRow) -> ast.expr | None:
    """The `out=`, else the receiver of a method, else the first argument of a function."""
    out = next((word.value for word in call.keywords if word.arg == "out"), None)
    if out is not None:
        return out
    function = call.func
    called = function.attr if isinstance(function, ast.Attribute) else variable(function)
    if called.strip("_") != op.name.strip("_"):
        return None  # a call of the user's own, or a module's
    if isinstance(function, ast.Attribute) and not _is_library(function.value):
        return function.value
    return call.args[0] if call.args else None


def _value(call: ast.Call, text: str, name: str, spell: Spell) -> str:
    """The expression that makes a new tensor of the same numbers."""
    if name in FRESH:
        return FRESH[name].format(text)
    if name == "copy_" and call.args:
        taken = spell(call.args[0])
        return f"{taken}.clone()" if len(taken) <= LONGEST else ""
    if name == "fill_" and call.args:
        return f"torch.full_like({text}, {spell(call.args[0])})"
    if name in NO_TWIN:
        return ""
    function = spell(call.func)
    kept = [word for word in call.keywords if word.arg not in ("inplace", "out")]
    if function.endswith("_") and not function.endswith("__"):
        function = function.rstrip("_")
    elif len(kept) == len(call.keywords):
        return ""  # written neither with an underscore nor with inplace= or out=
    words = [f"{word.arg or '**'}={spell(word.value)}" for word in kept]
    given = ", ".join([*(spell(argument) for argument in call.args), *words])
    whole = f"{function}({given})"
    return whole if len(whole) <= LONGEST else f"{function}(...)"


def _is_library(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and node.id in LIBRARIES


def _loops_over(node: ast.AST, text: str) -> bool:
    """Whether the name is what a loop goes through: a new tensor under it would be dropped."""
    if not isinstance(node, (ast.For, ast.AsyncFor)):
        return False
    return any(isinstance(n, ast.Name) and n.id == text for n in ast.walk(node.target))


def _takes(function: ast.AST, text: str) -> bool:
    arguments = getattr(function, "args", None)
    return isinstance(arguments, ast.arguments) and any(
        argument.arg == text for argument in [*arguments.posonlyargs, *arguments.args]
    )


def _used(function: ast.AST, text: str, statement: ast.stmt | None) -> bool:
    """Whether the function itself goes on to use the name, in another statement."""
    own = {id(node) for node in ast.walk(statement)} if statement is not None else set()
    line = statement.lineno if statement is not None else 0
    return any(
        isinstance(node, ast.Name) and node.id == text and node.lineno > line
        for node in ast.walk(function)
        if id(node) not in own
    )
