"""What modified a tensor in place: its line, its deed in words, and the cure that fits."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location
from gradpm.diagnose.memory import Change
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.raised import Raised
from gradpm.diagnose.rewritten import Rewritten, rewritten
from gradpm.diagnose.words import place, spoken
from gradpm.trace.model import Event, Frame
from gradpm.trace.schema import LeafKind, Op


@dataclass
class Modifier:
    """One line that wrote into a tensor."""

    op: OpRow | None
    location: Location | None
    what: str  # "`clamp_`", "`optimizer.step()`"
    deed: str  # subject of a sentence: "`std.clamp_(...)` at vae.py:18"
    cure: Callable[[str], str]
    more: list[Location] = field(default_factory=list)
    when: int = 0  # op id
    written: Rewritten | None = None  # the write as it stands in the source


def modifier_of(case: Case, change: Change, raised: Raised, saver: OpRow | None = None) -> Modifier:
    """Describe the op that made a change."""
    op = change.op
    if op.has(Op.IN_STEP):
        step = _step_of(case, op)
        closure = step is not None and saver is not None and saver.id > step.op
        if step is not None and not closure:  # in a closure, its own line is to blame
            return _optimizer(case, op, step, raised)
    frame = case.places.frame(op.frame)
    location = case.places.at(frame, "culprit")
    module = module_of(case, op, frame)
    what = f"{spoken(op)} of `{module}`" if module else spoken(op)
    deed = f"{what} at {place(location)}"
    more = []
    if op.has(Op.IN_FUNCTION):  # the line inside a custom Function's forward, and its apply
        users = case.places.user_frames(op.frame)
        more = [found for f in users[1:2] if (found := case.places.at(f, "applied")) is not None]
    leaf = case.trace.leaves.get(case.memory.root(change.serial))
    known = leaf is not None and leaf.kind is not LeafKind.TENSOR
    written = rewritten(case.places, frame, op) if not module else None
    cure = _cure(case, change, written, module)
    return Modifier(op, location, what, deed, cure, more, op.id, written if not known else None)


def module_of(case: Case, op: OpRow, frame: Frame | None) -> str:
    """The module inside whose forward an op ran, when the user's line only calls that module."""
    stack = case.trace.stack(op.frame)
    if not stack or frame is None or stack[0].row == frame.row:
        return ""
    name = case.module_path(op.scope)
    return name


def _step_of(case: Case, op: OpRow) -> Event | None:
    """The optimizer step during which an op ran."""
    events = [
        event
        for optimizer in case.facts.optimizers
        for event in optimizer.steps
        if event.op <= op.id
    ]
    return max(events, key=lambda event: event.op, default=None)


def steps_of(case: Case, roots: set[int], saver: OpRow | None, raised: Raised) -> list[Modifier]:
    """Steps of the owners of these leaves since they were saved: what they do leaves no rows."""
    after = saver.id if saver is not None else 0
    return [
        _optimizer(case, None, step, raised)
        for optimizer in case.facts.optimizers
        if roots & set(optimizer.params)
        for step in optimizer.steps
        if after < step.op <= raised.error.op
    ]


def _optimizer(case: Case, op: OpRow | None, step: Event, raised: Raised) -> Modifier:
    location = case.places.of(step.frame, "culprit")
    called = receiver(case, step.frame, "step") or "optimizer"
    earlier = _backward_before(case, step.op, raised)
    again = case.places.of(raised.call.frame, "backward") if raised.call is not None else None
    looped = earlier is not None and again is not None and earlier.short() == again.short()
    between = ""
    if earlier is not None and again is not None:
        second = "the next there" if looped else f"backward() at {place(again)}"
        between = (
            f", between backward() at {place(earlier)} and {second}, whose graph still needs the "
            "old numbers,"
        )
    what = f"`{called}.step()`"

    kept = (
        "; a value that one step hands to the next is to be detached, without retain_graph=True"
        if looped
        else ""
    )

    def cure(name: str) -> str:
        return (
            f"call every backward() that uses `{name}` first (the earlier one with "
            f"retain_graph=True where they share a graph), and `{called}.step()` after the last; "
            "or compute the second loss anew after the step" + kept
        )

    deed = f"{what} at {place(location)}{between}"
    more = [earlier] if earlier is not None else []
    return Modifier(op, location, what, deed, cure, more, step.op)


def _backward_before(case: Case, op: int, raised: Raised) -> Location | None:
    calls = [b for b in case.facts.backwards if b.op <= op and b is not raised.call]
    return case.places.of(calls[-1].frame, "first backward") if calls else None


def receiver(case: Case, stack: int, method: str) -> str:
    """`self.d_opt` in `self.d_opt.step()` at a stack's line."""
    frame = case.places.frame(stack)
    if frame is None:
        return ""
    statement = case.places.code(frame.path).statement(frame.line)
    for node in ast.walk(statement) if statement is not None else ():
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == method
        ):
            return ast.unparse(node.func.value)
    return ""


def _cure(
    case: Case, change: Change, written: Rewritten | None, module: str
) -> Callable[[str], str]:
    """The smallest edit, by what kind of write it was."""
    op = change.op
    leaf = case.trace.leaves.get(case.memory.root(change.serial))
    views = {case.facts.op(row).name for row in case.memory.way(change.serial)}

    def cure(name: str) -> str:
        if module and op.name in ("embedding", "embedding_bag"):
            return (
                f"look up before `{name}` is used elsewhere, or use `{name}.clone()` there: "
                "max_norm rescales the weight in place at each look-up"
            )
        if module and leaf is None:
            return f"make `{module}` not in place: inplace=False"
        if leaf is not None and leaf.kind is LeafKind.PARAMETER:
            return f"change `{name}` only after backward(), best after optimizer.step()"
        if leaf is not None and leaf.kind is LeafKind.BUFFER:
            new = f"assign a new tensor to `{name}` instead of writing into it"
            if written is not None and written.instead:
                new = f"make a new tensor: `{written.instead}`"
            return f"{new}; or let the forward use `{written.text if written else name}.clone()`"
        if written is not None and written.instead:
            return f"make a new tensor: `{written.instead}`{written.after}"
        if "detach" in views:
            return f"detach() shares memory: write into `{name}.detach().clone()` instead"
        if op.name == "__setitem__" or (written is not None and written.in_parts):
            return (
                f"do not write into `{name}`: collect the parts in a list and torch.stack or "
                f"torch.cat them, or write into a copy, `{name}.clone()`"
            )
        return _out_of_place(op, name)

    return cure


def _out_of_place(op: OpRow, name: str) -> str:
    if op.name in (
        "relu",
        "dropout",
        "leaky_relu",
        "elu",
        "silu",
        "hardtanh",
        "relu6",
        "threshold",
    ):
        return f"call {spoken(op)} without inplace=True"
    return (
        f"let {spoken(op)} make a new tensor (no `out=`, no in-place form), or give it "
        f"`{name}.clone()`"
    )
