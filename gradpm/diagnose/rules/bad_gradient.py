"""GP207: a custom Function's backward, or a hook, gave a gradient that does not fit."""

from __future__ import annotations

import ast
import re

from gradpm.diagnose.case import Case
from gradpm.diagnose.failed_node import failed_node, returned_at, unserved, written_at
from gradpm.diagnose.finding import Location, Step
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.raised import Raised
from gradpm.diagnose.words import listed, place, quoted
from gradpm.trace.schema import FileKind, Op

COUNT = re.compile(r"(\w+) returned an incorrect number of gradients \(expected (\d+), got (\d+)\)")
INVALID = re.compile(r"[Ff]unction (\w+) returned an invalid gradient at index (\d+) - (.*)", re.S)
SHAPES = re.compile(r"got \[([\d, ]*)\] but expected shape compatible with \[([\d, ]*)\]")
NOT_TENSOR = re.compile(r"expected Variable or None \(got (\w+)\)")
HOOK = re.compile(r"hook '([^']*)' has changed the (\w+) of value(.*)", re.S)
HOOK_TYPE = re.compile(r"expected Variable, but hook returned '(\w+)'")
HOOK_COUNT = re.compile(r"invalid number of grad_\w+, got (\d+), but expected (\d+)")
MODULE_HOOK = "ackward hook returned an invalid number of grad"
REGISTERS = frozenset(
    """register_full_backward_hook register_full_backward_pre_hook register_backward_hook
    register_module_full_backward_hook register_hook register_prehook""".split()
)


def find(case: Case) -> None:
    """The first error of each kind."""
    for raised in case.raised:
        if raised.taken or raised.call is None:
            continue
        message = raised.message
        if COUNT.search(message) or INVALID.search(message) or NOT_TENSOR.search(message):
            _function(case, raised)
        elif HOOK.search(message) or HOOK_TYPE.search(message) or MODULE_HOOK in message:
            _hook(case, raised)


def _function(case: Case, raised: Raised) -> None:
    """The Function whose backward returned it."""
    counted, invalid = COUNT.search(raised.message), INVALID.search(raised.message)
    name = counted.group(1) if counted else invalid.group(1) if invalid else ""
    node = failed_node(case, raised, name)
    op = case.graphs.op(node) if node is not None else None
    if op is None or not op.has(Op.FUNCTION):
        op = _apply_named(case, name) or op
    written = written_at(case, op, "backward") or written_at(case, op, "vjp")
    if op is None or not written:
        return  # no custom Function: another rule's matter
    raised.taken = True
    count = int(counted.group(3)) if counted else -1
    culprit = returned_at(case, written, raised, count)
    applied = case.places.of(op.frame, "applied")
    index = int(invalid.group(2)) if invalid else -1
    function = op.name.removesuffix(".apply")
    serials = unserved(case, raised, node)
    direct = [s for s in op.ins if s in serials]
    serials = direct + [s for s in serials if s not in direct]
    subjects = [case.words.parameter(serial) for serial in serials]
    given, problem, fix = _problem(case, raised, op, function, index)
    lost = listed([subject.name for subject in subjects]) or "What lies behind"
    case.finding(
        "GP207",
        raised.severity,
        f"`{function}.backward` returned {given} at {place(culprit)}",
        f"{problem} {lost} got no gradient from this backward().{raised.end}",
        fix,
        subjects=subjects,
        locations=[culprit, applied, case.places.of(raised.call.frame, "backward")]
        if raised.call is not None
        else [culprit, applied],
        path=[
            Step("op", f"{function}.apply", "", applied, op.id),
            Step("cut", f"{function}.backward", f"returned {given}", culprit),
        ],
        backward=raised.number,
        backwards=1,
    )


def _apply_named(case: Case, name: str) -> OpRow | None:
    """The latest apply of the Function whose node has this name."""
    wanted = name.removesuffix("Backward") + ".apply"
    for row in range(case.facts.op_count - 1, -1, -1):
        if case.trace.op_name(row) == wanted:
            return case.facts.op(row)
    return None


def _problem(
    case: Case, raised: Raised, op: OpRow, function: str, index: int
) -> tuple[str, str, str]:
    """(what was returned, a sentence on why it does not fit, the cure)."""
    counted = COUNT.search(raised.message)
    if counted:
        expected, got = counted.group(2), counted.group(3)
        return (
            f"{got} gradient{'s' if got != '1' else ''} where {expected} "
            f"{'are' if expected != '1' else 'is'} due",
            f"`{function}.forward` takes {expected} input{'s' if expected != '1' else ''} after "
            f"ctx, and backward must return one value for each, None for those without a "
            f"gradient; it returned {got}.",
            f"return {expected} values: one per input of forward, in its order, None for what is "
            "no tensor or needs no gradient",
        )
    which = _input_name(case, op, function, index)
    shapes = SHAPES.search(raised.message)
    if shapes:
        got, expected = f"[{shapes.group(1)}]", f"[{shapes.group(2)}]"
        cure = "sum over the dimensions that were broadcast, without keepdim"
        fitting = _input_of_shape(case, op, function, got, index)
        if fitting:
            return (
                f"a gradient {got} for {which} {expected}",
                f"The values of the return belong to forward's inputs in their order: value "
                f"{index} belongs to {which}, of shape {expected}, and has the shape of {fitting}.",
                f"return the gradients in the order of forward's inputs: the one of {fitting} "
                "stands in the wrong place",
            )
        if sorted(got.strip("[]").split(", ")) == sorted(expected.strip("[]").split(", ")):
            cure = "transpose it"
        return (
            f"a gradient {got} for {which} {expected}",
            f"A gradient must have the shape of its input: value {index} of the return belongs to "
            f"{which}, which has shape {expected}, and has shape {got}.",
            f"bring value {index} of the return to shape {expected}: {cure}",
        )
    wrong = NOT_TENSOR.search(raised.message)
    if wrong:
        return (
            f"a {wrong.group(1)}",
            f"backward must return tensors or None, one per input of forward; a {wrong.group(1)} "
            "is neither.",
            "return a tensor (or None) for each input of forward",
        )
    invalid = INVALID.search(raised.message)
    what = invalid.group(3) if invalid else raised.message
    return (
        f"a gradient for {which} that does not fit: {what}",
        f"A gradient must have the type and device of its input {which}; torch says: {what}.",
        f"make value {index} of the return like its input: `.to({which.strip('`')})`",
    )


def _input_of_shape(case: Case, op: OpRow, function: str, shape: str, index: int) -> str:
    """Another input of forward, which alone has this shape: its gradient stands in its place."""
    names = [
        _input_name(case, op, function, at)
        for at, serial in enumerate(op.ins)
        if at != index and serial and str(list(case.facts.spec_of(serial).shape)) == shape
    ]
    return names[0] if len(names) == 1 else ""


def _input_name(case: Case, op: OpRow, function: str, index: int) -> str:
    """The input of forward at a place, by the signature."""
    written = written_at(case, op, "forward")
    if written:
        node = case.places.code(str(written[0])).function(int(written[1]), str(written[2]))
        names = [argument.arg for argument in node.args.args] if node is not None else []
        setup = written_at(case, op, "setup_context")  # torch's own, unless the user wrote one
        with_context = not (setup and case.places.code(str(setup[0])).tree is not None)
        own = names[1:] if with_context else names
        if 0 <= index < len(own):
            return f"`{own[index]}`"
    return f"input {index}"


def _hook(case: Case, raised: Raised) -> None:
    """The hook that returned it."""
    raised.taken = True
    match = HOOK.search(raised.message)
    name = match.group(1) if match else ""
    op = _registration(case, raised, name)
    written = written_at(case, op, "hook")
    at = case.places.of(op.frame, "registered") if op is not None else None
    if not written:
        written, at = _registered_in_source(case, name)
    culprit = returned_at(case, written, raised) or at
    assert raised.call is not None
    call_at = case.places.of(raised.call.frame, "backward")
    serials = unserved(case, raised, None)
    serials = _behind(case, op, serials) or serials
    subjects = [case.words.parameter(serial) for serial in serials]
    tensor = case.called.name(op.ins[0]) if op is not None and op.ins else ""
    on = f" on {quoted(tensor)}" if tensor else ""
    hook = str(written[2]).rsplit(".", 1)[-1] if written else name or "a hook"
    counted = HOOK_COUNT.search(raised.message)
    kind = match.group(2) if match else "number" if counted else "type"
    lost = listed([subject.name for subject in subjects]) or "What lies behind"
    case.finding(
        "GP207",
        raised.severity,
        f"the hook `{hook}` returned "
        f"{_counted(counted) if counted else f'a gradient of another {kind}'} at {place(culprit)}",
        f"The hook registered{on} at {place(at)} is given the gradient and may return a "
        f"replacement of the same shape, type and device; what it returned has another {kind}"
        f"{match.group(3) if match else ''}. {lost} got no gradient from this backward()."
        f"{raised.end}",
        _hook_cure(hook, kind),
        subjects=subjects,
        locations=[culprit, at, call_at],
        path=[
            Step("op", "register_hook", on.strip(), at, op.id if op is not None else -1),
            Step("cut", hook, f"returned another {kind}", culprit),
        ],
        backward=raised.number,
        backwards=1,
    )


def _counted(match: re.Match[str]) -> str:
    return f"{match.group(1)} gradients where {match.group(2)} are due"


def _hook_cure(hook: str, kind: str) -> str:
    if kind == "number":
        return (
            f"return one gradient for each that `{hook}` was given, in the same tuple, or nothing "
            "at all to leave them as they are"
        )
    like = "of the type of" if kind == "type" else "shaped like"
    more = " (`.to(grad.dtype)`)" if kind == "type" else ""
    return (
        f"return a tensor {like} the gradient that `{hook}` was given{more}, or nothing at all to "
        "leave it as it is"
    )


def _registration(case: Case, raised: Raised, name: str) -> OpRow | None:
    """The latest `register_hook` of a function with this name before the failed call."""
    fallback = None
    for row in range(case.facts.row_at(raised.error.op) - 1, -1, -1):
        if case.trace.op_name(row) != "register_hook":
            continue
        op = case.facts.op(row)
        written = written_at(case, op, "hook")
        if not written:
            continue
        if not name or str(written[2]).rsplit(".", 1)[-1] == name:
            return op
        fallback = fallback or op
    return fallback if not name else None


def _behind(case: Case, op: OpRow | None, serials: list[int]) -> list[int]:
    """Those among the parameters that flow into the hooked tensor."""
    if op is None or not op.ins:
        return []
    rows = case.graphs.behind(op.ins[:1], op.row)
    taken = {serial for row in rows for serial in case.facts.op(row).ins} | set(op.ins[:1])
    return [serial for serial in serials if serial in taken]


def _registered_in_source(case: Case, name: str) -> tuple[list[object], Location | None]:
    """A module's backward hook leaves no row: find its registration in the source."""
    for path, kind in case.trace.files:
        code = case.places.code(path) if kind is FileKind.USER else None
        for node in ast.walk(code.tree) if code is not None and code.tree is not None else ():
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr not in REGISTERS or not node.args:
                continue
            hook = node.args[0]
            at = case.places.line(path, node.lineno, "registered")
            if isinstance(hook, ast.Lambda):
                return [path, hook.lineno, "<lambda>"], at
            called = hook.attr if isinstance(hook, ast.Attribute) else getattr(hook, "id", "")
            for statement in code.statements if code is not None else ():
                if isinstance(statement, ast.FunctionDef) and statement.name == called:
                    return [path, statement.lineno, called], at
    return [], None
