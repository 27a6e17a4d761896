"""Results that are handed out of torch, to numpy or to Python."""

from __future__ import annotations

from gradpm.diagnose.case import Case
from gradpm.diagnose.op_names import VIEWS, target_of
from gradpm.diagnose.ops import OpRow
from gradpm.trace.schema import Op

DETACHING = frozenset("detach detach_ data.__get__ data.__set__ detach_copy".split())
CARRYING = VIEWS | DETACHING | frozenset("cpu to float double half clone".split())


def leaves_torch(case: Case, outs: tuple[int, ...]) -> bool:
    """Whether a result is handed out of torch, as it is or through `.detach().cpu()` and such."""
    queue, seen = list(outs), set(outs)
    while queue:
        for row in case.facts.users.get(queue.pop(), ()):
            op = case.facts.op(row)
            if is_way_out(op):
                return True
            if op.name in CARRYING and len(op.ins) == 1:
                queue += [out for out in op.outs if out not in seen]
                seen.update(op.outs)
    return False


def only_leaves(case: Case, outs: tuple[int, ...]) -> bool:
    """Whether a result does nothing but leave torch: no op computes with it."""
    queue, seen = list(outs), set(outs)
    left = False
    while queue:
        for row in case.facts.users.get(queue.pop(), ()):
            op = case.facts.op(row)
            if is_way_out(op):
                left = True
            elif op.name in CARRYING and len(op.ins) == 1:
                queue += [out for out in op.outs if out not in seen]
                seen.update(op.outs)
            else:
                return False
    return left


def is_way_out(op: OpRow) -> bool:
    """Whether a call gave out something that is no tensor, and wrote to none."""
    return op.has(Op.LEFT) and not target_of(op)
