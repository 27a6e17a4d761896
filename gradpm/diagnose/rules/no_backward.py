"""GP113: steps, or reads of `.grad`, in a run without any backward."""

from __future__ import annotations

from collections import Counter

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location, Severity
from gradpm.diagnose.loop import code_of
from gradpm.diagnose.op_names import NO_VALUE
from gradpm.diagnose.steps import Step
from gradpm.diagnose.words import place
from gradpm.trace.schema import FileKind, Op


def find(case: Case) -> None:
    """Speak only if no engine call was ever made, nor refused before it began."""
    if case.facts.backwards or case.uncaught is not None:
        return
    if any(finding.code.startswith("GP2") for finding in case.findings):
        return
    steps = [step for steps in case.loop.steps.values() for step in steps]
    if steps:
        _stepped(case, steps)
    else:
        _expected(case)


def _stepped(case: Case, steps: list[Step]) -> None:
    if not all(step.without for step in steps):
        return  # gradients were filled in by hand
    places, words = case.places, case.words
    culprit = places.of(Counter(s.event.frame for s in steps).most_common(1)[0][0], "culprit")
    serials = list(dict.fromkeys(s for step in steps for s in step.optimizer.params))
    subjects = words.parameters(serials)
    bare = case.loop.bare("backward")
    loss = _loss_line(case, set(serials))
    written = case.loop.written("backward") if bare is None else None
    why = (
        f"`{code_of(bare)}` at {place(bare)} only looks the method up: without parentheses it is "
        "not called."
        if bare is not None
        else _never(written)
    )
    case.finding(
        "GP113",
        Severity.ERROR,
        f"The step at {place(culprit)} ran {len(steps)} times, and backward() never",
        f"{why} So {words.who(subjects, serials)} had no gradient in any step, and no step "
        "changed anything.",
        f"write `{code_of(bare)}()`"
        if bare
        else f"let {place(written)} run before the step"
        if written
        else "call loss.backward() before the step",
        subjects=subjects,
        locations=[culprit, bare, written, loss],
    )


def _never(written: Location | None) -> str:
    if written is None:
        return "No backward() was called in this run."
    return (
        f"The backward() at {place(written)} was not called once: the condition or loop around it "
        "never let it run."
    )


def _expected(case: Case) -> None:
    """No optimizer: the program clears or reads `.grad` itself, and finds none."""
    serials = _asked(case)
    if not serials:
        return
    culprit = _loss_line(case, set(serials))
    if culprit is None:
        return
    subjects = case.words.parameters(serials)
    who = case.words.who(subjects, serials)
    bare = case.loop.bare("backward")
    case.finding(
        "GP113",
        Severity.ERROR,
        f"The run never calls backward(): {who} never got a gradient",
        f"The loss is computed at {place(culprit)} and `.grad` of {who} is used afterwards, but no "
        "engine call was made in the whole run, so `.grad` stays None.",
        f"call backward() on what {place(culprit)} computes, before the update",
        subjects=subjects,
        locations=[culprit, bare],
    )


def _asked(case: Case) -> list[int]:
    """Leaves that require grad, went into ops, and whose `.grad` the user's own code touched."""
    facts = case.facts
    asked: dict[int, None] = {}
    used: set[int] = set()
    for op in facts.ops():
        if op.name in ("grad.__get__", "grad.__set__") and op.ins:
            stack = case.trace.stack(op.frame)
            if stack and stack[0].kind is FileKind.USER and not op.outs:
                asked[op.ins[0]] = None
        elif op.has(Op.OUT_REQUIRES) and op.has(Op.GRAD_ENABLED) and op.name not in NO_VALUE:
            used.update(op.ins)
    return [serial for serial in asked if serial in used and _requires(case, serial)]


def _requires(case: Case, serial: int) -> bool:
    """Whether it was made as a leaf that requires grad."""
    leaf = case.trace.leaves.get(serial)
    if leaf is not None:
        return bool(leaf.flags & 1)
    row = case.facts.makers.get(serial)
    op = case.facts.op(row) if row is not None else None
    return op is not None and op.is_leaf(op.outs.index(serial))


def _loss_line(case: Case, serials: set[int]) -> Location | None:
    """Where most of the scalars made of these that nothing tracked took further were made."""
    facts, users = case.facts, case.facts.users
    reached = set(serials)
    lines: Counter[int] = Counter()
    for op in facts.ops():
        if not op.has(Op.OUT_REQUIRES) or not reached.intersection(op.ins):
            continue
        reached.update(op.outs)
        scalar = bool(op.specs) and not facts.trace.spec(op.specs[0]).shape
        if scalar and not any(
            facts.op(row).has(Op.OUT_REQUIRES) and row > op.row
            for out in op.outs
            for row in users.get(out, ())
        ):
            lines[op.frame] += 1
    if not lines:
        return None
    return case.places.at(case.places.kept_at(lines.most_common(1)[0][0]), "culprit")
