"""Several cuts on one parameter's ways to the loss: which one a person meant, and which not."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from gradpm.diagnose.case import Case
from gradpm.diagnose.cut import Cut
from gradpm.diagnose.op_names import NO_VALUE, target_of
from gradpm.diagnose.ops import OpRow
from gradpm.trace.schema import Op

MOST_ROWS = 20_000  # of one cut's descendants


def likeliest(case: Case, cuts: Iterable[Cut], before: int) -> Cut:
    """The cut to blame: no side branch, not made on purpose; then by kind, then the first.

    `before` is the op id of the engine call. A side branch is a value that was reduced
    before it met what the other cuts let through: a scale, a norm, a baseline.
    """
    first: dict[tuple[str, str, int], Cut] = {}
    for cut in sorted(cuts, key=lambda cut: cut.op.row):
        first.setdefault(cut.site, cut)
    known = list(first.values())
    if len(known) == 1:
        return known[0]
    end = case.facts.row_at(before)
    widths = _widths(case, [cut for cut in known if not _on_purpose(case, cut.op)], end)
    broadest = max(widths.values(), default=0)

    def doubt(cut: Cut) -> tuple[bool, bool, int, int]:
        aside = 0 < widths.get(cut.op.row, 0) < broadest
        return _on_purpose(case, cut.op), aside, cut.rank, cut.op.row

    return min(known, key=doubt)


def _on_purpose(case: Case, op: OpRow) -> bool:
    """Whether such a cut is usually meant, where another stands beside it.

    First-order gradients are constants unless somebody asks for more.
    """
    return op.name == "autograd.grad" or is_scored(case, op)


def is_scored(case: Case, op: OpRow) -> bool:
    """Whether a drawn sample goes into a `log_prob`: the score-function estimator wants it so."""
    if not any(frame.function.endswith("sample") for frame in case.trace.stack(op.frame)[:3]):
        return False
    queue, seen = list(op.outs), set(op.outs)
    while queue and len(seen) < 64:
        for row in case.facts.users.get(queue.pop(), ())[:16]:
            later = case.facts.op(row)
            if any(f.function.endswith("log_prob") for f in case.trace.stack(later.frame)[:4]):
                return True
            if len(later.ins) == 1:
                fresh = [out for out in later.outs if out not in seen]
                seen.update(fresh)
                queue += fresh
    return False


def _widths(case: Case, cuts: list[Cut], end: int) -> dict[int, int]:
    """How many numbers of each cut's value were left where it met another's; 0: it met none."""
    behind = {cut.op.row: _descendants(case, cut.op, end) for cut in cuts}
    found: dict[int, int] = {}
    for cut in cuts:
        own = behind[cut.op.row]
        others = [rest for row, rest in behind.items() if row != cut.op.row]
        met = [width for row, width in own.items() if any(row in rest for rest in others)]
        found[cut.op.row] = max(met, default=0)
    return found


def _descendants(case: Case, cut: OpRow, end: int) -> dict[int, int]:
    """Rows that the cut's value goes into, each with the numbers left of it on the widest way."""
    facts = case.facts
    width = {out: _numbers(case, out) for out in cut.outs}
    queue = sorted({row for out in cut.outs for row in facts.users.get(out, ())})
    rows: dict[int, int] = {}
    while queue and len(rows) < MOST_ROWS:
        row = heapq.heappop(queue)
        if row in rows or not cut.row < row < end:
            continue
        op = facts.op(row)
        if op.name in NO_VALUE or op.has(Op.IN_STEP):
            continue
        rows[row] = most = max((width.get(serial, 0) for serial in op.ins), default=0)
        mutated = target_of(op)
        for out in (*op.outs, *([mutated] if mutated else ())):
            if out not in width:
                width[out] = min(most, _numbers(case, out))
                for later in facts.users.get(out, ()):
                    heapq.heappush(queue, later)
    return rows


def _numbers(case: Case, serial: int) -> int:
    total = 1
    for length in case.facts.spec_of(serial).shape:
        total *= max(length, 1)
    return total
