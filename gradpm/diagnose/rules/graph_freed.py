"""GP204: backward ran into the graph of an earlier backward, whose saved tensors are gone."""

from __future__ import annotations

from gradpm.diagnose.backwards import Backward
from gradpm.diagnose.carrying import Carried, handed_over, how_carried
from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location, Step, Subject
from gradpm.diagnose.graphs import Node
from gradpm.diagnose.op_names import target_of
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.raised import Raised
from gradpm.diagnose.words import engine_call, place, quoted, sentence, spoken
from gradpm.trace.schema import Call

SAYS = "Trying to backward through the graph a second time"


def find(case: Case) -> None:
    """The first error of this kind, explained."""
    for raised in case.raised:
        if SAYS in raised.message and not raised.taken:
            raised.taken = True
            if raised.call is not None:
                _explain(case, raised, raised.call)
                return


def _explain(case: Case, raised: Raised, call: Backward) -> None:
    nodes = case.graphs.of(call)
    failed = _failed(raised, nodes)
    earlier = _earlier(case, call, nodes, failed)
    if earlier is None:
        _tell_unknown(case, raised, call, nodes, failed)
        return
    shared = {node.at for node in nodes if node.row in case.graphs.rows_behind(earlier)}
    carried = _carried(case, call, nodes, shared, failed, earlier)
    if carried:
        _tell(case, raised, call, earlier, carried, nodes)
    else:
        _tell_unknown(case, raised, call, nodes, failed)


def _failed(raised: Raised, nodes: list[Node]) -> int:
    """The node that could not go on: the last that began, else the newest that was freed."""
    last = raised.error.detail.get("last")
    freed = raised.error.detail.get("freed")
    gone = {at for at in freed if isinstance(at, int)} if isinstance(freed, list) else set()
    if isinstance(last, int) and last in gone and last < len(nodes):
        return last
    return -1


def _earlier(case: Case, call: Backward, nodes: list[Node], failed: int) -> Backward | None:
    """The latest earlier call that ran part of this graph and did not retain it."""
    rows = {node.row for node in nodes if node.row >= 0 and not node.leaf}
    key = nodes[failed].row if 0 <= failed < len(nodes) else -1
    fallback = None
    for other in reversed(case.facts.backwards[: call.number]):
        if other.flags & Call.RETAIN or other.parent == call.number:
            continue
        ran = case.graphs.rows_behind(other) & rows
        if key in ran or (key < 0 and ran):
            return other
        if ran and fallback is None:
            fallback = other
    return fallback


def _carried(
    case: Case,
    call: Backward,
    nodes: list[Node],
    shared: set[int],
    failed: int,
    earlier: Backward,
) -> list[Carried]:
    """Values at the boundary: made for the first backward, taken again by the second."""
    shared = {at for at in shared if not nodes[at].leaf}
    above = case.graphs.ancestors(nodes, failed) if failed >= 0 else set(range(len(nodes)))
    found = []
    for node in nodes:
        if node.at in shared or node.leaf:
            continue
        for child in node.edges:
            if child in shared and nodes[child].row >= 0:
                value = _value(case, node, nodes[child])
                found.append((child in above, handed_over(case, value, node, nodes, earlier)))
    for root in call.roots:
        row = case.facts.makers.get(root)
        if row is not None and any(nodes[at].row == row for at in shared):
            found.append((True, Carried(case.facts.op(row), root, None)))
    reaching = [carried for on_way, carried in found if on_way]
    chosen = reaching or [carried for _, carried in found]
    chosen.sort(key=lambda carried: -carried.op.row)
    kept: dict[int, Carried] = {}
    for carried in chosen:
        kept.setdefault(carried.serial, carried)
    return list(kept.values())


def _value(case: Case, user: Node, maker: Node) -> Carried:
    """The tensor that the maker handed to the user."""
    op = case.facts.op(maker.row)
    taker = case.graphs.op(user)
    serial = _handed(case, op, taker) or (op.outs[0] if op.outs else target_of(op))
    return Carried(op, serial, taker, maker.at)


def _handed(case: Case, op: OpRow, taker: OpRow | None) -> int:
    """Which of an op's outputs another takes, itself or through views of it."""
    if taker is None:
        return 0
    outs = set(op.outs)
    for serial in taker.ins:
        if serial in outs:
            return serial
    for serial in taker.ins:
        root = case.memory.root(serial)
        if root in outs:
            return root
    return 0


def _tell(
    case: Case,
    raised: Raised,
    call: Backward,
    earlier: Backward,
    carried: list[Carried],
    nodes: list[Node],
) -> None:
    first = carried[0]
    culprit = case.places.of(first.op.frame, "culprit")
    same_line = [c for c in carried if c.op.frame == first.op.frame]
    subjects = _subjects(case, same_line or [first])
    name = subjects[0].name
    source = case.called.name(first.source.serial) if first.source is not None else ""
    freed_at = case.places.of(earlier.frame, "first backward")
    at = case.places.of(call.frame, "backward")
    how = how_carried(case, first, call, earlier, nodes)
    taken = case.places.of(first.user.frame, "taken again") if first.user is not None else None
    others = [
        place_ for c in carried if (place_ := case.places.of(c.op.frame, "carried too")) is not None
    ]
    case.finding(
        "GP204",
        raised.severity,
        f"{sentence(quoted(name))}, made at {place(culprit)}, was still part of the graph that "
        f"{engine_call(earlier)} at {place(freed_at)} had freed",
        _why(name, source, first, culprit, taken, (earlier, freed_at), (call, at))
        + how[0]
        + raised.end,
        how[1].format(name=name),
        subjects=subjects,
        locations=[culprit, freed_at, *_callers(case, first.op), taken, at, *others[1:3]],
        path=_path(case, name, first, culprit, freed_at, taken, at),
        backward=raised.number,
        backwards=1,
    )


def _callers(case: Case, op: OpRow) -> list[Location]:
    """The call that led to a value returned from a helper."""
    users = case.places.user_frames(op.frame)
    found = [case.places.at(frame, "called from") for frame in users[1:2]]
    return [location for location in found if location is not None]


def _subjects(case: Case, carried: list[Carried]) -> list[Subject]:
    found: dict[str, Subject] = {}
    for one in carried:
        frame = case.places.frame(one.user.frame) if one.user is not None else None
        for subject in case.called.subjects(one.serial, frame):
            found.setdefault(subject.name, subject)
    return list(found.values())


def _why(
    name: str,
    source: str,
    first: Carried,
    culprit: Location | None,
    taken: Location | None,
    freed: tuple[Backward, Location | None],
    again: tuple[Backward, Location | None],
) -> str:
    second = f"{engine_call(again[0])} at {place(again[1])}"
    if freed[0].frame == again[0].frame:
        second = f"the next {engine_call(again[0])} there"
    made = f"{sentence(spoken(first.op))} at {place(culprit)} made {quoted(name)}"
    if source:
        made += f" of {quoted(source)}, whose history"
        freed_it = f"{made} {engine_call(freed[0])} at {place(freed[1])} had freed. "
    else:
        freed_it = (
            f"{made}, and {engine_call(freed[0])} at {place(freed[1])} went through its history "
            "and freed what that had saved. "
        )
    into = f" through {spoken(first.user)} at {place(taken)}" if first.user is not None else ""
    return (
        f"{freed_it}{sentence(second)} came to {quoted(source or name)} again{into} and found it "
        "freed."
    )


def _path(
    case: Case,
    name: str,
    first: Carried,
    culprit: Location | None,
    freed_at: Location | None,
    taken: Location | None,
    at: Location | None,
) -> list[Step]:
    shape = list(case.facts.spec_of(first.serial).shape)
    steps = [
        Step("op", spoken(first.op).strip("`"), f"{name} {shape}", culprit, first.op.id),
        Step("backward", "first backward()", f"frees the graph behind {name}", freed_at),
    ]
    if first.user is not None:
        label = spoken(first.user).strip("`")
        steps.append(Step("op", label, f"takes {name} again", taken, first.user.id))
    steps.append(Step("cut", "second backward()", f"finds the graph of {name} freed", at))
    return steps


def _tell_unknown(
    case: Case, raised: Raised, call: Backward, nodes: list[Node], failed: int
) -> None:
    """The earlier call was not recorded or does not show: say where the freed node stands."""
    op = case.graphs.op(nodes[failed]) if 0 <= failed < len(nodes) else None
    at = case.places.of(call.frame, "backward")
    culprit = case.places.of(op.frame, "culprit") if op is not None else None
    subjects = [case.called.subject(op.outs[0])] if op is not None and op.outs else []
    name = subjects[0].name if subjects else "a value"
    case.finding(
        "GP204",
        raised.severity,
        f"`{name}` belongs to a graph that was freed before backward() at {place(at)}",
        f"backward() at {place(at)} came to {spoken(op) if op else 'an op'} at {place(culprit)}, "
        "whose saved tensors an earlier backward had freed. That earlier call is not among those "
        f"recorded.{raised.end}",
        f"detach `{name}` between steps, or compute it anew before each backward()",
        subjects=subjects,
        locations=[culprit, at],
        backward=raised.number,
        backwards=1,
    )
