"""What a value was made of: op rows from a root back to where everything came from."""

from __future__ import annotations

from collections.abc import Container, Iterable

from gradpm.diagnose.backwards import Backward
from gradpm.diagnose.facts import Facts
from gradpm.diagnose.op_names import NO_VALUE, target_of
from gradpm.trace.schema import Op

FARTHEST = 1_000_000
ELSEWHERE = Op.IN_STEP | Op.IN_OPTIM | Op.IN_BACKWARD | Op.IN_FUNCTION


def ancestors(
    facts: Facts, roots: Iterable[int], before: int, leaves: Container[int] = ()
) -> list[int]:
    """Rows whose results went into the roots, in order; nothing from behind `leaves`."""
    needed = set(roots)
    found: list[int] = []
    end = facts.row_at(before)
    in_starts, ins, out_starts, outs, _, _ = facts.ragged
    for row in range(end - 1, max(end - FARTHEST, 0) - 1, -1):
        first = ins[in_starts[row]] if in_starts[row] < in_starts[row + 1] else 0
        if first not in needed and needed.isdisjoint(outs[out_starts[row] : out_starts[row + 1]]):
            continue  # most rows: not worth decoding
        op = facts.op(row)
        if op.has(ELSEWHERE) or op.has(Op.SETTER) or op.name in NO_VALUE:
            continue
        mutated = target_of(op)
        if needed.isdisjoint(op.outs) and mutated not in needed:
            continue
        found.append(row)
        needed.update(serial for serial in op.ins if serial not in leaves)
    found.reverse()
    return found


def descendants(facts: Facts, sources: Iterable[int], rows: Iterable[int]) -> list[int]:
    """Those of the rows, given in order, that take in the sources or what was made of them."""
    reached = set(sources)
    found = []
    for row in rows:
        op = facts.op(row)
        if not reached.isdisjoint(op.ins):
            found.append(row)
            reached.update(op.outs)
            mutated = target_of(op)
            if mutated:
                reached.add(mutated)
    return found


def scaled_by_torch(facts: Facts, call: Backward) -> bool:
    """Whether the root came out of `GradScaler.scale`."""
    row = facts.makers.get(call.roots[0]) if call.roots else None
    if row is None:
        return False
    stack = facts.trace.stack(facts.op(row).frame)
    return any(frame.path.endswith("grad_scaler.py") for frame in stack[:4])
