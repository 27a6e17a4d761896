"""How a value came to stand in the graphs of two backwards, and the cure that fits."""

from __future__ import annotations

from dataclasses import dataclass

from gradpm.diagnose.case import Case
from gradpm.diagnose.facts import Backward, OpRow
from gradpm.diagnose.flow import NO_VALUE
from gradpm.diagnose.graphs import Node
from gradpm.trace.schema import Op


@dataclass
class Carried:
    """A value whose graph two backwards entered."""

    op: OpRow  # the op that made it
    serial: int
    user: OpRow | None  # the op through which the second backward came to it; None: the root
    node: int = -1


def how_carried(
    case: Case, first: Carried, call: Backward, earlier: Backward, nodes: list[Node]
) -> tuple[str, str]:
    """(a sentence on what kind of carrying it is, the cure that fits it)."""
    if first.user is None:
        return (
            " It is the same loss both times.",
            "call backward() once per computed `{name}`: compute it anew before the second call",
        )
    if first.user.id < earlier.op:  # both losses stood before the first backward
        return (
            " Both losses were computed from it before the first backward().",
            "add the losses and call backward() once: (loss_a + loss_b).backward(); or pass "
            "retain_graph=True to the first backward()",
        )
    again = _made_again(case, first.op, earlier, call)
    holder = case.called.holder(first.serial)
    if again and holder:
        return (
            f" `{holder}` still held it when the next loss was computed.",
            f"empty `{holder}` after each optimizer step, or keep only `{{name}}.detach()` in it",
        )
    if again and first.user.frame == first.op.frame and not case.facts.spec_of(first.serial).shape:
        return (
            " It grows from step to step: each step adds to the sum of all before it.",
            "call backward() on this step's loss alone, and sum up its number: `{name}` += "
            "loss.item(), or loss.detach()",
        )
    if again:
        own = case.called.as_written(first.serial)
        part = case.called.is_part(first.serial)
        cut = f"tuple(part.detach() for part in {own})" if part else f"{own}.detach()"
        return (
            " It is handed on from step to step with its whole history.",
            f"cut the history between steps: `{own} = {cut}` after the optimizer's step (or "
            "reset it)",
        )
    if _learns(case, nodes, first.node):
        return (
            " It was computed once and used by more than one backward().",
            "compute `{name}` anew inside the loop, before each backward()",
        )
    return (
        " It was computed once, and nothing that learns stands behind it.",
        "make it a constant: `{name} = {name}.detach()`, or compute it under torch.no_grad()",
    )


def _made_again(case: Case, op: OpRow, earlier: Backward, call: Backward) -> bool:
    """Whether the same line made such a value again after the first backward."""
    frame = case.places.frame(op.frame)
    first, end = case.facts.row_at(earlier.op), case.facts.row_at(call.op)
    for row in range(first, end):
        later = case.facts.op(row)
        if later.name != op.name or later.has(Op.IN_STEP) or later.name in NO_VALUE:
            continue
        other = case.places.frame(later.frame)
        here = frame is not None and other is not None
        if here and (other.path, other.line) == (frame.path, frame.line):  # type: ignore[union-attr]
            return True
    return False


def _learns(case: Case, nodes: list[Node], start: int) -> bool:
    """Whether a leaf that an optimizer owns stands behind a node (all leaves, where none owns)."""
    owned = set(case.facts.owners)
    queue, seen = [start], {start}
    while queue:
        at = queue.pop()
        if not 0 <= at < len(nodes):
            continue
        if nodes[at].leaf and (not owned or nodes[at].leaf in owned):
            return True
        for child in nodes[at].edges:
            if child not in seen:
                seen.add(child)
                queue.append(child)
    return False
