"""Values that go where no gradient can follow: into an `if`, or into another tensor's `.data`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gradpm.diagnose.case import Case
from gradpm.diagnose.cut import Cut
from gradpm.diagnose.cuts import classify
from gradpm.diagnose.handed import DETACHING
from gradpm.diagnose.op_names import is_use, target_of
from gradpm.diagnose.ops import OpRow
from gradpm.trace.schema import FileKind, Op

DECIDING = frozenset("__bool__ __int__ __index__ is_nonzero".split())


def steering(case: Case, serial: int) -> Cut | None:
    """A parameter that only decides which way Python goes: the op that made it a decision."""
    facts = case.facts
    for row in facts.users.get(serial, ()):
        op = facts.op(row)
        if op.id > case.flow.horizon or not is_use(op, serial) or not op.has(Op.GRAD_ENABLED):
            continue
        deciders = [op] if op.name in DECIDING else _deciders(case, op)
        if not deciders or op.has(Op.OUT_REQUIRES):
            continue
        cut = classify(case, row)
        return replace(
            cut,
            why=f"{cut.why} Only the program's control flow depends on it, as a Python number, and "
            "control flow has no derivative.",
        )
    return None


def _deciders(case: Case, op: OpRow) -> list[OpRow]:
    users = [case.facts.op(row) for out in op.outs for row in case.facts.users.get(out, ())]
    return [
        user
        for user in users
        if user.name in DECIDING
        and any(frame.kind is FileKind.USER for frame in case.trace.stack(user.frame)[:1])
    ]


def written_aside(case: Case, serial: int, dead_end: Callable[[Case, int], int]) -> Cut | None:
    """A result written into what `.data` or `.detach()` handed out of another tensor."""
    facts = case.facts
    row = dead_end(case, serial)
    if row < 0:
        return None
    near = facts.op(row)
    later = [facts.op(user) for out in near.outs for user in facts.users.get(out, ())]
    for op in (near, *later):
        target = target_of(op)
        maker = facts.makers.get(target, -1) if target else -1
        if maker < 0 or facts.op(maker).name not in DETACHING or facts.op(maker).frame == 0:
            continue
        if target == op.ins[0] and len(op.ins) > 1:
            return _written(case, facts.op(maker), op)
    return None


def _written(case: Case, maker: OpRow, op: OpRow) -> Cut:
    cut = classify(case, maker.row)
    culprit = case.places.of(op.frame, "culprit")
    seconds = (cut.culprit,) if cut.culprit is not None else ()
    return replace(
        cut,
        op=op,
        code="GP101",
        culprit=culprit,
        seconds=seconds,
        what=f"the write through {cut.what}",
        why=f"{cut.what} hands out the same memory under a tensor of its own: what is written "
        "there changes the values, and the history of what was written stays behind.",
        fix="build a new tensor of the results (torch.stack joins several) and use that, instead "
        f"of writing through {cut.what}",
    )
