"""Softmaxes over a single number: 1 whatever the number is, and without a gradient."""

from __future__ import annotations

import ast

from gradpm.diagnose.case import Case
from gradpm.diagnose.killers import Remedy
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.statements import variable
from gradpm.trace.schema import FileKind

KINDS = frozenset("Softmax LogSoftmax SafeSoftmax".split())
MODULES = frozenset(["Softmax", "LogSoftmax"])
LAST = -1


def is_over_one(case: Case, op: OpRow, kind: str) -> bool:
    """Whether the dimension that a softmax normalises has the size 1."""
    if kind not in KINDS or not op.ins:
        return False
    shape = case.facts.spec_of(op.ins[0]).shape
    dim = _dim(case, op, len(shape))
    return -len(shape) <= dim < len(shape) and shape[dim] == 1


def remedy_over_one(case: Case, op: OpRow) -> Remedy:
    """Why it is constant, and the cure: another dimension, or another function."""
    shape = case.facts.spec_of(op.ins[0]).shape
    dim = _dim(case, op, len(shape))
    if dim % len(shape) != len(shape) - 1 and op.name != "cross_entropy" and shape[LAST] > 1:
        return Remedy(
            f"it goes over dimension {dim}, of size 1, and the softmax of one number is always 1",
            f"let it go over the classes: dim=-1, of size {shape[LAST]}",
        )
    return Remedy(
        "it goes over a single class, and the softmax of one number is always 1",
        "use sigmoid with binary_cross_entropy_with_logits for a single output, or give the "
        "last layer one output for each class",
    )


def _dim(case: Case, op: OpRow, rank: int) -> int:
    """The dimension that is written in the call; the classes' where none is to be seen there."""
    usual = 1 if op.name == "cross_entropy" and rank > 1 else LAST
    node = case.places.expression(case.places.frame(op.frame))
    if not isinstance(node, ast.Call) or op.name == "cross_entropy":
        return usual
    # softmax(x, 0) and x.softmax(0): what follows the tensor
    dim = _number(node, node.args[1:2] if len(node.args) > 1 else node.args[:1])
    if dim is not None:
        return dim
    made = _made_with(case)  # it was called as a module: what its constructor was given
    return made.pop() if len(made) == 1 else usual


def _made_with(case: Case) -> set[int]:
    """Every dimension that the user's source gives to `nn.Softmax` and its kind."""
    calls = (
        node
        for path, kind in case.trace.files
        if kind is FileKind.USER and (tree := case.places.code(path).tree) is not None
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and variable(node.func).rsplit(".", 1)[-1] in MODULES
    )
    return {dim for call in calls if (dim := _number(call, call.args[:1])) is not None}


def _number(call: ast.Call, positional: list[ast.expr]) -> int | None:
    """The dimension that a call is given as a plain number."""
    named = [keyword.value for keyword in call.keywords if keyword.arg == "dim"]
    for value in [*named, *positional]:
        try:
            dim = ast.literal_eval(value)
        except ValueError:
            continue
        if type(dim) is int:
            return dim
    return None
