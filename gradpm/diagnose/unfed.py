"""Leaves that no module holds, whose `.grad` the script reads after a backward and finds None."""

from __future__ import annotations

import ast
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from gradpm.diagnose.op_names import SWITCHES
from gradpm.diagnose.places import Places
from gradpm.trace.schema import FileKind, Leaf, LeafKind, Op

if TYPE_CHECKING:
    from gradpm.diagnose.facts import Facts
    from gradpm.diagnose.ops import OpRow


def unfed_leaves(facts: Facts) -> dict[int, list[int]]:
    """Serial of each such leaf -> the calls that fill `.grad` between its making and the read.

    A leaf whose gradient was there at any read is not one; nor is one of which the script
    asserts that it has none.
    """
    found: dict[int, list[int]] = {}
    places = Places(facts.trace)
    for read in facts.empty_reads:
        serial = read.ins[0]
        if serial not in found and _is_users(facts, read) and _required(facts, serial, read):
            calls = _calls_before(facts, serial, read)
            if calls and not _is_asserted(facts, places, read):
                found[serial] = calls
    fed = _fed(facts) if found else ()
    return {serial: calls for serial, calls in found.items() if serial not in fed}


def _fed(facts: Facts) -> set[int]:
    """Serials whose gradient was there when it was read."""
    into, ins, starts, *_ = facts.ragged
    return {ins[into[row]] for row in facts.grad_reads if starts[row] < starts[row + 1]}


def _is_users(facts: Facts, read: OpRow) -> bool:
    stack = facts.trace.stack(read.frame)
    return bool(stack) and stack[0].kind is FileKind.USER


def _required(facts: Facts, serial: int, read: OpRow) -> bool:
    """Whether it was a leaf that required grad, and no parameter, when it was read."""
    leaf = facts.trace.leaves.get(serial)
    if leaf is not None and leaf.kind is not LeafKind.TENSOR:
        return False
    maker = facts.makers.get(serial)
    made = facts.op(maker) if maker is not None else None
    at = made.outs.index(serial) if made is not None else 0
    if made is not None and made.requires(at) and not made.is_leaf(at):
        return False
    on = bool(made is not None and made.is_leaf(at)) or bool(leaf and leaf.flags & Leaf.REQUIRES)
    for row in facts.users.get(serial, ()):
        op = facts.op(row)
        if op.name in SWITCHES and op.ins[0] == serial and op.id < read.id:
            on = not op.has(Op.NONE_SET)
    return on


def _calls_before(facts: Facts, serial: int, read: OpRow) -> list[int]:
    maker = facts.makers.get(serial)
    made = facts.op(maker).id if maker is not None else 0
    if facts.accumulating_ops is None:
        return [call.number for call in facts.accumulating if made <= call.op <= read.id]
    begin = bisect_left(facts.accumulating_ops, made)
    end = bisect_right(facts.accumulating_ops, read.id)
    return [call.number for call in facts.accumulating[begin:end]]


def _is_asserted(facts: Facts, places: Places, read: OpRow) -> bool:
    """Whether the statement is an `assert`: then None is what its author expects."""
    frame = facts.user_frame(read.frame)
    statement = places.code(frame.path).statement(frame.line) if frame is not None else None
    return isinstance(statement, ast.Assert)
