"""GP214: a checkpointed function did something else when it was run again in backward."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location, Step, Subject
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.raised import Raised
from gradpm.diagnose.words import place, spoken
from gradpm.trace.model import Frame
from gradpm.trace.schema import Op

SAYS = (
    "A different number of tensors was saved",
    "Recomputed values for the following tensors have different metadata",
    "recomputed values",
    "during the original forward and recomputation",
)
Key = tuple[str, str, int]


@dataclass
class Split:
    """Where the two runs of one checkpointed call part."""

    call: OpRow  # the checkpoint call
    first: OpRow | None  # the op of the original run there; None: it had ended
    second: OpRow | None  # the op of the recomputation


def find(case: Case) -> None:
    """The first error of this kind."""
    for raised in case.raised:
        if raised.taken or not any(words in raised.message for words in SAYS):
            continue
        raised.taken = True
        _tell(case, raised)
        return


def _key(case: Case, op: OpRow) -> Key:
    frame = case.places.frame(op.frame)
    return op.name, frame.path if frame else "", frame.line if frame else 0


def _segments(case: Case, raised: Raised) -> list[tuple[OpRow, list[OpRow]]]:
    """Each checkpoint call before the failed backward, with the ops that ran inside it."""
    facts = case.facts
    end = facts.row_at(raised.call.op) if raised.call is not None else facts.op_count
    found: list[tuple[OpRow, list[OpRow]]] = []
    inside: list[OpRow] = []
    for op in facts.ops(0, end):
        if op.name == "checkpoint":
            found.append((op, inside))
            inside = []
        elif op.has(Op.CHECKPOINT) and not op.has(Op.IN_BACKWARD) and _counts(op):
            inside.append(op)
    return found


def _counts(op: OpRow) -> bool:
    """Bookkeeping rows say nothing of what the function did."""
    switches = op.has(Op.SETTER) or "grad_enabled" in op.name or not (op.ins or op.outs)
    return not (switches or op.has(Op.UNSEEN))


def _again(case: Case, raised: Raised) -> list[OpRow]:
    """The ops of the recomputations during the failed backward."""
    facts = case.facts
    if raised.call is None:
        return []
    first, end = facts.row_at(raised.call.op), facts.row_at(raised.error.op)
    return [op for op in facts.ops(first, end) if op.has(Op.IN_BACKWARD) and _counts(op)]


def _split(case: Case, raised: Raised) -> Split | None:
    """Run the recomputations along the segments, the last first, until they part."""
    segments = _segments(case, raised)
    again = _again(case, raised)
    at = 0
    for index in range(len(segments) - 1, -1, -1):
        call, original = segments[index]
        if not original:
            continue
        before = segments[index - 1][1] if index else []
        step = 0
        while step < len(original) and at < len(again):
            one, two = original[step], again[at]
            if _key(case, one) != _key(case, two):
                if step and before and _key(case, two) == _key(case, before[0]):
                    break  # stopped early: all that was needed had been computed
                return Split(call, one, two)
            if _shapes(case, one) != _shapes(case, two):
                return Split(call, one, two)
            step, at = step + 1, at + 1
        if at >= len(again) and step < len(original) and step:
            return Split(call, original[step], None)
    return (
        Split(segments[-1][0], None, again[at] if at < len(again) else None) if segments else None
    )


def _shapes(case: Case, op: OpRow) -> list[tuple[tuple[int, ...], str]]:
    return [(case.trace.spec(s).shape, case.trace.spec(s).dtype) for s in op.specs]


def _tell(case: Case, raised: Raised) -> None:
    split = _split(case, raised)
    at = case.places.of(raised.call.frame, "backward") if raised.call is not None else None
    if split is None:
        return
    called = case.places.of(split.call.frame, "checkpoint")
    frames = [case.places.frame(op.frame) for op in (split.first, split.second) if op is not None]
    branch = _branch(case, frames)
    lines = [case.places.at(frame, "ran differently") for frame in frames]
    culprit = branch or next((line for line in lines if line is not None), called)
    happened = _happened(case, split, branch)
    case.finding(
        "GP214",
        raised.severity,
        f"the recomputation of the checkpoint at {place(called)} went another way at "
        f"{place(culprit)}",
        f"checkpoint runs the function again in backward to get back what it did not keep, and "
        f"both runs must do the same. {happened}{raised.end}",
        _fix(case, split, branch, culprit),
        subjects=_subjects(case, split),
        locations=[culprit, called, *lines, at],
        path=[
            Step("op", "checkpoint", "first run", called, split.call.id),
            Step("cut", "recomputation", "differs here", culprit),
            Step("backward", "backward()", "", at),
        ],
        backward=raised.number,
        backwards=1,
    )


def _subjects(case: Case, split: Split) -> list[Subject]:
    op = split.first or split.second
    return [case.called.subject(op.outs[0])] if op is not None and op.outs else []


def _branch(case: Case, frames: list[Frame | None]) -> Location | None:
    """The `if` or loop that holds the one line and not the other: it decided differently."""
    known = [frame for frame in frames if frame is not None]
    if len(known) == 1:
        return _skipping(case, known[0])
    if len(known) < 2 or (known[0].path, known[0].line) == (known[1].path, known[1].line):
        return None
    one, two = known[0], known[1]
    if one.path == two.path and one.function == two.function:
        return _deciding(case, one, one.line, two.line)
    shared = _shared_caller(case, one, two)
    if shared is None:
        return None
    frame, first, second = shared
    found = _deciding(case, frame, first, second)
    return found or _guard(case, one, frame) or _guard(case, two, frame)


def _skipping(case: Case, frame: Frame) -> Location | None:
    """The one run went on and the other had ended: the `if` that lets the line run or skips it."""
    code = case.places.code(frame.path)
    function = code.function(frame.first_line, frame.function)
    inside = [n for n in code.enclosing(frame.line) if function is None or n is not function]
    for node in reversed(inside):
        if function is not None and getattr(node, "lineno", 0) <= function.lineno:
            break
        if isinstance(node, ast.If) and node.lineno < frame.line:
            return case.places.line(frame.path, node.lineno, "culprit", frame.function)
        for leaving in getattr(node, "body", ()):
            if leaving.lineno < frame.line and _leaves(leaving):
                return case.places.line(frame.path, leaving.lineno, "culprit", frame.function)
    return None


def _leaves(statement: ast.stmt) -> bool:
    """An `if` under which a loop or a function goes no further."""
    ends = (ast.Continue, ast.Break, ast.Return)
    return isinstance(statement, ast.If) and isinstance(statement.body[-1], ends)


def _shared_caller(case: Case, one: Frame, two: Frame) -> tuple[Frame, int, int] | None:
    """The innermost function that both stacks go through, and its two lines."""
    callers = {
        (frame.path, frame.function): frame.line for frame in case.places.user_frames(one.row)
    }
    for frame in case.places.user_frames(two.row):
        line = callers.get((frame.path, frame.function))
        if line is not None:
            return frame, line, frame.line
    return None


def _guard(case: Case, inner: Frame, caller: Frame) -> Location | None:
    """The `if` inside a function below the shared caller under which only one run went."""
    below = []
    for frame in case.places.user_frames(inner.row):
        if (frame.path, frame.function) == (caller.path, caller.function):
            break
        below.append(frame)
    for frame in reversed(below):
        code = case.places.code(frame.path)
        function = code.function(frame.first_line, frame.function)
        for node in reversed(code.enclosing(frame.line)):
            if function is not None and getattr(node, "lineno", 0) < function.lineno:
                break
            if isinstance(node, (ast.If, ast.While)) and node.lineno < frame.line:
                return case.places.line(frame.path, node.lineno, "culprit", frame.function)
    return None


def _deciding(case: Case, frame: Frame, one: int, two: int) -> Location | None:
    code = case.places.code(frame.path)
    best: ast.stmt | None = None
    for node in code.statements:
        if not isinstance(node, (ast.If, ast.For, ast.While)):
            continue
        last = node.end_lineno or node.lineno
        arms = [_inside(node.body, line) - _inside(node.orelse, line) for line in (one, two)]
        within = node.lineno <= one <= last or node.lineno <= two <= last
        if within and arms[0] != arms[1] and (best is None or node.lineno > best.lineno):
            best = node
    return case.places.line(frame.path, best.lineno, "culprit", frame.function) if best else None


def _inside(body: list[ast.stmt], line: int) -> int:
    return int(any(node.lineno <= line <= (node.end_lineno or node.lineno) for node in body))


def _happened(case: Case, split: Split, branch: Location | None) -> str:
    def told(op: OpRow | None) -> str:
        if op is None:
            return "nothing more"
        shape = case.trace.spec(op.specs[0]).shape if op.specs else ()
        return f"{spoken(op)} {list(shape)} at {place(case.places.of(op.frame, 'op'))}"

    decided = f" The condition at {place(branch)} came out differently." if branch else ""
    return (
        f"The first run went on with {told(split.first)}, the recomputation with "
        f"{told(split.second)}.{decided}"
    )


def _fix(case: Case, split: Split, branch: Location | None, culprit: Location | None) -> str:
    source = culprit.source if culprit is not None else ""
    if "random" in source or "rng" in source or "np." in source:
        return (
            "draw the number outside the checkpointed function and pass it in, or draw it with "
            "torch (torch.rand), whose state checkpoint restores"
        )
    if "None" in source or "cache" in source or "hasattr" in source or "not in" in source:
        return (
            "fill the cache before the checkpointed call, or do not cache inside it: the second "
            "run finds what the first has stored"
        )
    if branch is not None:
        return f"let the condition at {place(branch)} be decided outside the checkpointed function"
    return (
        "let this line depend only on the function's inputs and on torch's random numbers, not on "
        "state that the first run changes"
    )
