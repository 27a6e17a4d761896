"""The evidence, step by step: from a parameter through its ops to the cut and the loss."""

from __future__ import annotations

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Step
from gradpm.diagnose.op_names import NO_VALUE, is_use, target_of
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.words import spoken
from gradpm.trace.schema import Op

LONGEST = 200
SHOWN = 14


STOPS = "the gradient stops here"


def path_to(
    case: Case, serial: int, goals: set[int], before: int, cut: int = -1, said: str = STOPS
) -> list[Step]:
    """The shortest way of a value from `serial` to one of the goal serials.

    `before` is the op id of the engine call; `cut` the row where the gradient
    is lost, and `said` how.
    """
    rows = _shortest(case, serial, goals, before, cut)
    steps = [_parameter(case, serial)]
    stopped = False
    for row in _trimmed(rows, cut):
        if row < 0:
            steps.append(Step("gap", f"{-row} more ops"))
            continue
        op = case.facts.op(row)
        stopped = stopped or row == cut
        steps.append(_step(case, op, said if row == cut else "", stopped))
    return steps


def _trimmed(rows: list[int], cut: int) -> list[int]:
    """At most SHOWN rows: both ends and the cut's neighbours; gaps as negative counts."""
    if len(rows) <= SHOWN:
        return rows
    at = rows.index(cut) if cut in rows else len(rows) // 2
    keep = {0, 1, 2, len(rows) - 1, len(rows) - 2, *range(at - 3, at + 4)}
    shown: list[int] = []
    skipped = 0
    for index, row in enumerate(rows):
        if index in keep:
            if skipped:
                shown.append(-skipped)
                skipped = 0
            shown.append(row)
        else:
            skipped += 1
    return shown


def _shortest(case: Case, serial: int, goals: set[int], before: int, cut: int) -> list[int]:
    """Rows on a shortest way, breadth first over the recorded data flow, through the cut."""
    facts = case.facts
    end = facts.row_at(before) if before else facts.op_count
    first_goal = set(facts.op(cut).ins) if cut >= 0 else goals
    first = search(case, {serial}, first_goal, 0, end)
    if cut < 0:
        return first
    rest = search(case, set(facts.op(cut).outs), goals, cut + 1, end)
    return [*first, cut, *rest]


def search(case: Case, sources: set[int], goals: set[int], begin: int, end: int) -> list[int]:
    """Forward over the rows once, remembering by which row each serial was first reached."""
    if sources & goals:
        return []
    facts = case.facts
    users = facts.users
    came: dict[int, tuple[int, int]] = {}
    queue = list(sources)
    seen = set(sources)
    while queue:
        nearer: list[int] = []
        for serial in queue:
            for row in users.get(serial, ()):
                if not begin <= row < end:
                    continue
                op = facts.op(row)
                if (
                    op.name in NO_VALUE
                    or op.has(Op.IN_STEP)
                    or (serial in sources and not is_use(op, serial))
                ):
                    continue
                mutated = target_of(op)
                for out in (*op.outs, *([mutated] if mutated else ())):
                    if out in seen:
                        continue
                    seen.add(out)
                    came[out] = (row, serial)
                    if out in goals:
                        return _back(came, out, sources)
                    nearer.append(out)
        queue = nearer
    return []


def _back(came: dict[int, tuple[int, int]], goal: int, sources: set[int]) -> list[int]:
    rows: list[int] = []
    at = goal
    while at not in sources and len(rows) < 100_000:
        row, at = came[at]
        rows.append(row)
    return rows[::-1]


def _parameter(case: Case, serial: int) -> Step:
    subject = case.words.parameter(serial)
    shape = list(subject.shape) if subject.shape is not None else ""
    leaf = case.trace.leaves.get(serial)
    location = case.places.of(leaf.frame, "created") if leaf is not None else None
    return Step("parameter", subject.name, f"{shape}".strip(), location)


def _step(case: Case, op: OpRow, lost: str, stopped: bool) -> Step:
    location = case.places.of(op.frame, "path")
    target = case.places.target(op.frame)
    shape = list(case.trace.spec(op.specs[0]).shape) if op.specs else ""
    label = spoken(op).strip("`")
    detail = lost or f"{target} {shape}".strip()
    kind = "cut" if lost else "left" if stopped else "op"
    return Step(kind, label, detail, location, op.id)


def loss_step(case: Case, root: int, frame: int) -> Step:
    """The last step: the loss at the engine call."""
    name = case.words.tensor_name(root)
    return Step("loss", name, "", case.places.of(frame, "backward"))
