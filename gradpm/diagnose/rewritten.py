"""A statement that writes in place, as it stands in the source, and what to write instead."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from gradpm.diagnose.facts import OpRow
from gradpm.diagnose.places import FUNCTIONS, Places, variable
from gradpm.trace.model import Frame

LONGEST = 88
FRESH = {  # what has no form of its own that makes a new tensor
    "zero_": "torch.zeros_like({})",
    "normal_": "torch.randn_like({})",
    "uniform_": "torch.rand_like({})",
}
NO_TWIN = frozenset(
    """set_ resize_ resize_as_ random_ exponential_ geometric_ cauchy_ log_normal_ copy_
    fill_""".split()
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
    after: str = ""  # what else must be done for it: handing the new tensor back


def rewritten(places: Places, frame: Frame | None, op: OpRow) -> Rewritten | None:
    """The write that ran at a frame; None when its target has no name of its own."""
    if frame is None:
        return None
    code = places.code(frame.path)
    statement = code.statement(frame.line)
    text = "\n".join(code.lines)
    if isinstance(statement, ast.AugAssign):
        found = _augmented(statement, op, text)
    else:
        found = _called(statement, places.expression(frame), op, text)
    if found is None or not found.instead or "." in found.text:
        return found
    around = code.enclosing(frame.line)
    if any(_loops_over(node, found.text) for node in around):
        return Rewritten(found.name, found.text, "")
    functions = [node for node in around if isinstance(node, FUNCTIONS)]
    inner = max(functions, key=lambda node: node.lineno, default=None)
    if inner is not None and _takes(inner, found.text) and not _used(inner, found.text, statement):
        return Rewritten(found.name, found.text, found.instead, " and return it to the caller")
    return found


def _augmented(statement: ast.AugAssign, op: OpRow, source: str) -> Rewritten | None:
    target, name = statement.target, variable(statement.target)
    if not name or op.name == "__setitem__":
        return None
    text = spelled(target, source)
    if isinstance(target, ast.Subscript):
        return Rewritten(name, text, "")
    value = spelled(statement.value, source)
    if isinstance(statement.value, (ast.BinOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.UnaryOp)):
        value = f"({value})"
    sign = SIGNS.get(type(statement.op), "")
    whole = f"{text} = {text} {sign} {value}"
    return Rewritten(name, text, whole if len(whole) <= LONGEST else f"{text} = {text} {sign} ...")


def _called(
    statement: ast.stmt | None, call: ast.expr | None, op: OpRow, source: str
) -> Rewritten | None:
    """`x.clamp_(0)`, `torch.relu_(x)`, `F.dropout(x, inplace=True)`."""
    if statement is None or not isinstance(call, ast.Call):
        return None
    receiver = call.func.value if isinstance(call.func, ast.Attribute) else None
    is_method = receiver is not None and not _is_library(receiver)
    target = receiver if is_method else call.args[0] if call.args else None
    if target is None or isinstance(target, ast.Call) or not variable(target):
        return None
    text = spelled(target, source)
    if isinstance(target, ast.Subscript):
        return Rewritten(variable(target), text, "")
    value = _value(call, text, op.name, source)
    left = ""
    if isinstance(statement, ast.Expr) and statement.value is call:
        left = f"{text} = "
    elif isinstance(statement, ast.Assign) and statement.value is call:
        left = f"{spelled(statement.targets[0], source)} = "
    return Rewritten(variable(target), text, left + value if value else "")


def _value(call: ast.Call, text: str, name: str, source: str) -> str:
    """The expression that makes a new tensor of the same numbers."""
    if name in FRESH:
        return FRESH[name].format(text)
    if name == "copy_" and call.args:
        taken = spelled(call.args[0], source)
        return f"{taken}.clone()" if len(taken) <= LONGEST else ""
    if name == "fill_" and call.args:
        return f"torch.full_like({text}, {spelled(call.args[0], source)})"
    if name in NO_TWIN:
        return ""
    function = spelled(call.func, source)
    kept = [word for word in call.keywords if word.arg != "inplace"]
    if function.endswith("_") and not function.endswith("__"):
        function = function.rstrip("_")
    elif len(kept) == len(call.keywords):
        return ""  # written neither with an underscore nor with inplace=
    words = [f"{word.arg or '**'}={spelled(word.value, source)}" for word in kept]
    given = ", ".join([*(spelled(argument, source) for argument in call.args), *words])
    whole = f"{function}({given})"
    return whole if len(whole) <= LONGEST else f"{function}(...)"


def spelled(node: ast.expr, source: str) -> str:
    """An expression as the user wrote it, on one line."""
    return " ".join((ast.get_source_segment(source, node) or ast.unparse(node)).split())


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
