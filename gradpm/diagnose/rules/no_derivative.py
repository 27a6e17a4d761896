"""GP209: an op without a derivative, or without a second one, stood on the path."""

from __future__ import annotations

import re

from gradpm.diagnose.case import Case
from gradpm.diagnose.failed_node import definition, failed_node, op_behind, unserved, written_at
from gradpm.diagnose.finding import Location, Step, Subject
from gradpm.diagnose.graphs import Node
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.raised import Raised
from gradpm.diagnose.surrogates import SURROGATES, surrogate
from gradpm.diagnose.words import listed, place, spoken
from gradpm.trace.schema import Call, Op

MISSING = re.compile(r"derivative for '?(?:aten::)?([\w.]+)")
ARGUMENT = re.compile(r"function '?(\w+)'? is not differentiable with respect to argument '(\w+)'")
SAYS = (
    "is not implemented",
    "is not differentiable with respect to argument",
    "marked with @once_differentiable",
    "not differentiable twice",
    "does not support double backward",
    "double backward",
)


def find(case: Case) -> None:
    """The first error of this kind at each line."""
    for raised in case.raised:
        if not raised.taken and _is_meant(raised.message):
            node = failed_node(case, raised)
            op = raised.op or underivable(case, raised, node)
            if op is not None:
                raised.taken = True
                _tell(case, raised, op, node)


def _is_meant(message: str) -> bool:
    lower = message.lower()
    if "is not implemented" in lower and "derivative" not in lower:
        return False
    return any(words in lower for words in SAYS) or ("derivative" in lower and "not impl" in lower)


def underivable(case: Case, raised: Raised, node: Node | None) -> OpRow | None:
    """The forward op behind the failed node; error nodes carry no number, so also by name."""
    op = op_behind(case, raised, node)
    if op is not None and op.name != "autograd.grad":
        return op
    if "once_differentiable" in raised.message:
        return _once(case, raised) or op
    match = MISSING.search(raised.message)
    wanted = plain(match.group(1)) if match else ""
    return _node_named(case, raised, wanted) or _op_named(case, raised, wanted) or op


def plain(name: str) -> str:
    """An op's name without what differs between a method, an operator, a node and its backward."""
    short = name.replace("_", "").lower().removesuffix("0").removesuffix("backward")
    return {"floordivide": "floordiv", "rfloordiv": "floordiv"}.get(short, short)


def _once(case: Case, raised: Raised) -> OpRow | None:
    """The latest apply of a Function whose backward is marked @once_differentiable."""
    for row in range(case.facts.row_at(raised.error.op) - 1, -1, -1):
        op = case.facts.op(row)
        if op.has(Op.FUNCTION) and _decorator(case, op) is not None:
            return op
    return None


def _node_named(case: Case, raised: Raised, wanted: str) -> OpRow | None:
    """A node of this name in the failed call's graph, or in an earlier one."""
    calls = case.facts.backwards[: raised.call.number + 1] if raised.call is not None else []
    for call in reversed(calls):
        for node in case.graphs.of(call):
            if wanted and plain(node.name) == wanted and node.row >= 0:
                found = case.graphs.op(node)
                if found is not None and found.name != "autograd.grad":
                    return found
    return None


def _op_named(case: Case, raised: Raised, wanted: str) -> OpRow | None:
    """The latest tracked op of this name behind the failed call."""
    if raised.call is None:
        return None
    end = case.facts.row_at(raised.call.op)
    rows = case.graphs.behind(raised.call.roots, end)
    for row in sorted(rows, reverse=True):
        if plain(case.trace.op_name(row)) == wanted:
            return case.facts.op(row)
    return None


def _tell(case: Case, raised: Raised, op: OpRow, node: Node | None) -> None:
    second = _is_second(raised, op, node)
    frame = case.places.frame(op.frame)
    culprit = case.places.at(frame, "culprit")
    subjects = _subjects(case, raised, op, node)
    asked = _asked(case, raised) if second else None
    decorator = _decorator(case, op) if "once_differentiable" in raised.message else None
    at = case.places.of(raised.call.frame, "backward") if raised.call is not None else None
    what = spoken(op)
    nth = "second derivative" if second else "derivative"
    lost = listed([subject.name for subject in subjects])
    no_more = f" {lost} got no gradient." if lost else ""
    case.finding(
        "GP209",
        raised.severity,
        f"{what} at {place(culprit)} has no {nth}",
        _why(raised, what, culprit, asked, decorator, at) + no_more + raised.end,
        _fix(raised, op, second=second),
        subjects=subjects,
        locations=[culprit, decorator, asked, at],
        path=[
            Step("op", what.strip("`"), "", culprit, op.id),
            Step("cut", raised.message.split(".")[0][:80], f"no {nth}", at or culprit),
        ],
        backward=raised.number,
        backwards=1,
    )


def _is_second(raised: Raised, op: OpRow, node: Node | None) -> bool:
    born = raised.error.detail.get("born")
    if node is not None and isinstance(born, dict) and str(node.at) in born:
        return True
    return "backward" in raised.message.split("is not")[0] or "once_diff" in raised.message


def _subjects(case: Case, raised: Raised, op: OpRow, node: Node | None) -> list[Subject]:
    """The parameters that got nothing; the op's own inputs when it raised at once."""
    serials = unserved(case, raised, node)
    if serials:
        return [case.words.parameter(serial) for serial in serials]
    rows = case.graphs.behind(op.ins, op.row)
    taken = {serial for row in rows for serial in case.facts.op(row).ins} | set(op.ins)
    parameters = [serial for serial in case.facts.parameters if serial in taken]
    if parameters:
        return [case.words.parameter(serial) for serial in parameters]
    tracked = [int(o["serial"]) for o in raised.operands if o.get("requires") and o.get("serial")]
    return [case.called.subject(serial) for serial in tracked]


def _asked(case: Case, raised: Raised) -> Location | None:
    """The call with create_graph=True that asked for a graph of the gradient."""
    for call in reversed(case.facts.backwards):
        if call is not raised.call and call.flags & Call.CREATE:
            return case.places.of(call.frame, "create_graph")
    return None


def _decorator(case: Case, op: OpRow) -> Location | None:
    """The line of `@once_differentiable`."""
    written = written_at(case, op, "backward")
    node = definition(case, written)
    for decorator in getattr(node, "decorator_list", ()):
        name = getattr(decorator, "attr", getattr(decorator, "id", ""))
        if name == "once_differentiable":
            return case.places.line(str(written[0]), decorator.lineno, "once differentiable")
    return None


def _why(
    raised: Raised,
    what: str,
    culprit: Location | None,
    asked: Location | None,
    decorator: Location | None,
    at: Location | None,
) -> str:
    if decorator is not None or "once_differentiable" in raised.message:
        return (
            f"The backward of {what} is marked @once_differentiable ({place(decorator)}): its own "
            f"ops are not recorded. The gradient taken with create_graph=True at {place(asked)} "
            f"passed through it, and backward() at {place(at)} had to differentiate it again."
        )
    argument = ARGUMENT.search(raised.message)
    if argument:
        return (
            f"{what} at {place(culprit)} has no derivative with respect to its argument "
            f"`{argument.group(2)}`, and this one requires grad."
        )
    if asked is not None:
        return (
            f"{what} at {place(culprit)} has a derivative, but torch has none of its backward. The "
            f"gradient taken with create_graph=True at {place(asked)} passed through it, and "
            f"backward() at {place(at)} needed the second derivative."
        )
    if at is None:
        return f"torch has no derivative for {what} at {place(culprit)}, whose inputs require grad."
    return (
        f"torch records {what} at {place(culprit)} without a formula for its derivative; the error "
        f"comes only when backward() at {place(at)} reaches it."
    )


def _fix(raised: Raised, op: OpRow, *, second: bool) -> str:
    if "once_differentiable" in raised.message:
        return "remove @once_differentiable and write that backward with torch functions alone"
    argument = ARGUMENT.search(raised.message)
    if argument:
        return (
            f"pass `{argument.group(2)}` detached, or write the formula out with plain operations"
        )
    if "scaled_dot_product" in op.name or op.name == "multi_head_attention_forward":
        return (
            "run the attention with torch.nn.attention.sdpa_kernel(SDPBackend.MATH), or write it "
            "out: softmax(q @ k.transpose(-2, -1) / sqrt(d)) @ v"
        )
    if op.name == "cdist":
        return (
            "write the distance out: (a[:, None] - b[None]).abs().sum(-1) for p=1, or pow/sum/sqrt"
        )
    if op.name == "bincount":
        return (
            "use index_add, which is differentiable in the weights: "
            "torch.zeros(n).index_add(0, index, weights)"
        )
    if second:
        return (
            f"write {spoken(op)} out with elementary operations, which can be differentiated twice"
        )
    if op.name in SURROGATES:
        return surrogate(op.name)
    return (
        f"replace {spoken(op)} by differentiable operations, or detach its input if no gradient "
        "should pass here"
    )
