"""How a value came to stand in the graphs of two backwards, and the cure that fits."""

from __future__ import annotations

from dataclasses import dataclass

from gradpm.diagnose.backwards import Backward
from gradpm.diagnose.case import Case
from gradpm.diagnose.graphs import Node
from gradpm.diagnose.op_names import NO_VALUE
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.words import engine_call, place, spoken
from gradpm.trace.schema import Op, Table


@dataclass
class Carried:
    """A value whose graph two backwards entered."""

    op: OpRow  # the op that made it
    serial: int
    user: OpRow | None  # the op through which the second backward came to it; None: the root
    node: int = -1
    source: Carried | None = None  # of a freed graph, where the value was made of it afterwards


def handed_over(
    case: Case, carried: Carried, user: Node, nodes: list[Node], earlier: Backward
) -> Carried:
    """What was made of a value after the first backward, and went into the next round of a loop.

    `baseline = 0.9 * baseline + 0.1 * cost` behind the backward: the next round takes
    `baseline`, so that line is the one to change, though the freed graph is that of `cost`.
    """
    parents: dict[int, list[int]] = {}
    for node in nodes:
        for child in node.edges:
            parents.setdefault(child, []).append(node.at)
    below: dict[int, int] = {user.at: carried.node}
    queue = [user.at]
    while queue:
        at = queue.pop(0)
        op = case.graphs.op(nodes[at])
        if op is None or op.id < earlier.op:
            continue
        if _ran_before(case, op, earlier):
            return _made_since(case, carried, nodes[below[at]], op, earlier)
        for parent in parents.get(at, ()):
            if parent not in below:
                below[parent] = at
                queue.append(parent)
    return carried


def _made_since(
    case: Case, carried: Carried, maker: Node, taker: OpRow, earlier: Backward
) -> Carried:
    """The value that a round hands to the next, if it is another than the freed one."""
    op = case.graphs.op(maker)
    if maker.at == carried.node or op is None or op.id < earlier.op or not op.outs:
        return carried
    serial = next((serial for serial in taker.ins if serial in op.outs), op.outs[0])
    return Carried(op, serial, taker, maker.at, carried)


def _ran_before(case: Case, op: OpRow, earlier: Backward) -> bool:
    """Whether the op's line, called from the same lines, had run before: a loop came round."""
    end = case.facts.row_at(earlier.op)
    wanted = _lines(case, op.frame)
    stacks = set(case.trace.table(Table.OP)["frame"][:end])
    return op.frame in stacks or any(_lines(case, stack) == wanted for stack in stacks)


def _lines(case: Case, stack: int) -> list[tuple[str, int]]:
    return [(frame.path, frame.line) for frame in case.places.user_frames(stack)]


def how_carried(
    case: Case, first: Carried, call: Backward, earlier: Backward, nodes: list[Node]
) -> tuple[str, str]:
    """(a sentence on what kind of carrying it is, the cure that fits it)."""
    if first.user is None:
        return (
            " It is the same loss both times.",
            "call backward() once per computed `{name}`: compute it anew before the second call",
        )
    behind = _leaves(nodes, first.node)
    if first.user.id < earlier.op:  # both losses stood before the first backward
        return _both_before(case, first, call, earlier, behind)
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
            "call backward() on this step's loss alone, and sum up its number: "
            f"`{_braced(case.called.as_written(first.serial))} += loss.item()`",
        )
    if again:
        own = _braced(_path(case, first.serial))
        part = case.called.is_part(first.serial)
        keyed = case.called.is_keyed(first.serial)
        cut = f"tuple(part.detach() for part in {own})" if part else f"{own}.detach()"
        if keyed:
            cut = f"{{{{key: part.detach() for key, part in {own}.items()}}}}"
        return (
            " It is handed on from step to step with its whole history.",
            f"cut the history between steps: `{own} = {cut}` after the optimizer's step (or "
            "reset it)",
        )
    owned = set(case.facts.owners)
    if not (behind & owned if owned else behind):
        told = " It was computed once, and nothing that learns stands behind it."
        if holder or case.called.is_part(first.serial):
            at = place(case.places.of(first.op.frame, "made"))
            return (
                told,
                f"make it a constant: `.detach()` it at {at}, or compute it there under "
                "torch.no_grad()",
            )
        return (
            told,
            "make it a constant: `{name} = {name}.detach()`, or compute it under torch.no_grad()",
        )
    return _used_twice(case, first, call, earlier, behind)


def _braced(text: str) -> str:
    """Braces of the user's source doubled: the cure is a template for the name."""
    return text.replace("{", "{{").replace("}", "}}")


def _path(case: Case, serial: int) -> str:
    """What the user's loop can call it: `model[0].state` for the `self.state` of a module."""
    own, known = case.called.as_written(serial), case.called.known(serial)
    if not own.startswith("self.") or known.rsplit(".", 1)[-1] != own.rsplit(".", 1)[-1]:
        return own
    parts = [f"[{part}]" if part.isdigit() else f".{part}" for part in known.split(".")]
    return "".join(parts).lstrip(".") if "." in known else own


def _both_before(
    case: Case, first: Carried, call: Backward, earlier: Backward, behind: set[int]
) -> tuple[str, str]:
    """Two losses from one value, both computed before either backward."""
    told = f" Both losses were computed from it before the first {engine_call(earlier)}."
    add = "add the losses and call backward() once: (loss_a + loss_b).backward()"
    if _is_foreign(case, call, earlier, behind):
        detach = _detach_first(case, first, earlier)
        return told, f"{detach}; compute the second loss after that optimizer's step"
    if _changed(case, call, earlier, behind):
        return told, f"{add}, before the optimizers step"
    return told, f"{add}; or pass retain_graph=True to the first {engine_call(earlier)}"


def _used_twice(
    case: Case, first: Carried, call: Backward, earlier: Backward, behind: set[int]
) -> tuple[str, str]:
    """Computed once, and taken again for another loss after the first backward."""
    told = " It was computed once and used by more than one backward()."
    at = case.places.of(earlier.frame, "first backward")
    if _is_foreign(case, call, earlier, behind):
        return told, _detach_first(case, first, earlier)
    again = _is_at(case, earlier.frame, call.frame)
    maker = case.places.frame(first.op.frame)
    if maker is not None and maker.function.endswith("__init__"):
        own = _braced(case.called.as_written(first.serial))
        return told, f"compute `{own}` in forward instead of __init__: each step needs it anew"
    if _changed(case, call, earlier, behind):
        loop = "inside the loop, before each backward()" if again else "after the optimizer's step"
        return told, f"compute `{{name}}` anew {loop}"
    retain = f"pass retain_graph=True to {engine_call(earlier)} at {place(at)}"
    if again:
        return told, f"{retain}, or add up what the loop computes and call it once after the loop"
    wanted = " (create_graph=True where its result goes into the loss)"
    return told, retain + (wanted if earlier.is_grad_call else "")


def _detach_first(case: Case, first: Carried, earlier: Backward) -> str:
    users = [case.facts.op(row) for row in case.facts.users.get(first.serial, ())]
    before = [op for op in users if op.id < earlier.op]
    at = case.places.of(earlier.frame, "first backward")
    taken = (
        f"{spoken(before[-1])} at {place(case.places.of(before[-1].frame, 'taken'))}"
        if before
        else "the first loss"
    )
    return (
        f"hand `{{name}}.detach()` to {taken}: the optimizer that steps after "
        f"{engine_call(earlier)} at {place(at)} owns nothing of what stands behind `{{name}}`"
    )


def _stepped(case: Case, call: Backward, earlier: Backward) -> set[int]:
    """What the optimizers own that stepped between the two calls."""
    return {
        serial
        for optimizer in case.facts.optimizers
        if any(earlier.number < step.backward <= call.number for step in optimizer.steps)
        for serial in optimizer.params
    }


def _is_foreign(case: Case, call: Backward, earlier: Backward, behind: set[int]) -> bool:
    """Whether an optimizer stepped between them that owns nothing of what is behind the value."""
    stepped = _stepped(case, call, earlier)
    return bool(stepped) and not stepped & behind


def _changed(case: Case, call: Backward, earlier: Backward, behind: set[int]) -> bool:
    """Whether what stands behind the value was given new numbers between the two calls."""
    if _stepped(case, call, earlier) & behind:
        return True
    roots = {case.memory.root(serial) for serial in behind}
    return bool(case.memory.changes(roots, earlier.op, call.op))


def _is_at(case: Case, one: int, two: int) -> bool:
    """Whether two stacks end in the same user line."""
    places = case.places.frame(one), case.places.frame(two)
    return (
        places[0] is not None
        and places[1] is not None
        and (places[0].path, places[0].line) == (places[1].path, places[1].line)
    )


def _made_again(case: Case, op: OpRow, earlier: Backward, call: Backward) -> bool:
    """Whether the same line made such a value again after the first backward."""
    first, end = case.facts.row_at(earlier.op), case.facts.row_at(call.op)
    for row in range(first, end):
        later = case.facts.op(row)
        if later.name != op.name or later.has(Op.IN_STEP) or later.name in NO_VALUE:
            continue
        if _is_at(case, op.frame, later.frame):
            return True
    return False


def _leaves(nodes: list[Node], start: int) -> set[int]:
    """The leaves behind a node."""
    found: set[int] = set()
    queue, seen = [start], {start}
    while queue:
        at = queue.pop()
        if not 0 <= at < len(nodes):
            continue
        if nodes[at].leaf:
            found.add(nodes[at].leaf)
        for child in nodes[at].edges:
            if child not in seen:
                seen.add(child)
                queue.append(child)
    return found
