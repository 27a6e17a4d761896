"""Values that go from one step into the next with their history: chains that grow."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import compress, islice, pairwise
from operator import le

from gradpm.diagnose.facts import Facts
from gradpm.diagnose.op_names import NO_VALUE
from gradpm.diagnose.ops import OpRow
from gradpm.trace.schema import Op, Out

NO_HISTORY = NO_VALUE | {"autograd.grad"}
REQUIRES, KEEPS = int(Out.REQUIRES), int(Out.REQUIRES | Out.LEAF)
TRACKED, ELSEWHERE = int(Op.OUT_REQUIRES), int(Op.IN_BACKWARD | Op.SETTER)
WITH_HISTORY = bytes(flags & KEEPS == REQUIRES for flags in range(256))


@dataclass
class Link:
    """The last op of a chain that takes in, in each step, what it made in the step before."""

    op: OpRow
    length: int  # in steps
    first: int  # step in which it began


def links_of(facts: Facts) -> dict[int, Link]:
    """By stack: the last op there that took in a value of an earlier step with its history.

    A step ends where an engine call that fills `.grad` begins. This looks at every tracked row,
    so it reads columns and decodes no op.
    """
    if not _any_crosses(facts):
        return {}
    bounds = [call.op for call in facts.accumulating]
    ids, frames = facts.trace.op_ids, facts.op_frames
    in_starts, ins, out_starts, outs, _, oflags = facts.ragged
    reach: dict[int, tuple[int, int, int]] = {}  # serial -> (step, steps behind it, first step)
    best: dict[int, tuple[int, int, int]] = {}
    step = 0
    for row in _rows_with_history(facts, 0, facts.op_count):
        step = bisect.bisect_right(bounds, ids[row], lo=step)
        behind, first, crossed = 0, step, False
        for serial in ins[in_starts[row] : in_starts[row + 1]]:
            known = reach.get(serial)
            if known is not None:
                older = known[0] < step
                crossed |= older
                behind, first = max((behind, -first), (known[1] + older, -known[2]))
                first = -first
        for at in range(out_starts[row], out_starts[row + 1]):
            if oflags[at] & KEEPS == REQUIRES:
                reach[outs[at]] = (step, behind, first)
        if crossed and behind:
            best[frames[row]] = (row, behind, first)
    return {frame: Link(facts.op(row), *link) for frame, (row, *link) in best.items()}


def _rows_with_history(facts: Facts, first: int, end: int) -> Iterator[int]:
    """The rows of a stretch that make something of what goes in, and track it."""
    flags, names, skipped = facts.op_flags, facts.op_names, facts.named(NO_HISTORY)
    for row in range(first, end):
        if flags[row] & TRACKED and not flags[row] & ELSEWHERE and names[row] not in skipped:
            yield row


def _any_crosses(facts: Facts) -> bool:
    """Whether any op takes in what another had made in an earlier step.

    In nearly every run none does, and that is told step by step rather than row by row.
    """
    bounds, ids = facts.accumulating_ops, facts.trace.op_ids
    if bounds is None or not all(map(le, ids, islice(ids, 1, None))):
        return True  # threads: only the rows can tell
    in_starts, ins, out_starts, outs, _, oflags = facts.ragged
    kept = oflags.tobytes().translate(WITH_HISTORY)
    older: set[int] = set()
    for first, end in pairwise([0, *map(facts.row_at, bounds), facts.op_count]):
        taken = ins[in_starts[first] : in_starts[end]]
        if not older.isdisjoint(taken):  # a loss that is printed after its backward, perhaps
            for row in _rows_with_history(facts, first, end):
                if not older.isdisjoint(ins[in_starts[row] : in_starts[row + 1]]):
                    return True
        made = slice(out_starts[first], out_starts[end])
        older.update(compress(outs[made], kept[made]))
    return False
