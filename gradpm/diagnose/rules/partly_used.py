"""GP107 where one call gives out several tensors, and the loss is made of the wrong one."""

from __future__ import annotations

from gradpm.diagnose.backwards import Backward
from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location, Severity
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.paths import loss_step, path_to, search
from gradpm.diagnose.words import place, spoken, verb
from gradpm.trace.schema import Call, Op


def find(case: Case) -> None:
    """Parameters whose op reached the loss, though not by the output that they made.

    The rows say that a composite op took the parameter and that the loss depends on
    it; the graph, which was read, has no way from the loss to the parameter.
    """
    groups: dict[tuple[str, int], tuple[OpRow, Backward, list[int]]] = {}
    for serial in case.expected.starved:
        call = _unreached_in(case, serial) if serial not in case.explained else None
        op = _halved(case, serial, call) if call is not None else None
        location = _line(case, op) if op is not None else None
        if call is not None and op is not None and location is not None:
            key = (location.file, location.line)
            groups.setdefault(key, (op, call, []))[2].append(serial)
    for op, call, serials in groups.values():
        _tell(case, op, call, serials)


def _unreached_in(case: Case, serial: int) -> Backward | None:
    """The first call that the rows say reaches it and no graph does; None if one does."""
    bit = case.flow.bit.get(serial, 0)
    calls = [
        call
        for call in case.facts.backwards
        if call.flags & Call.FULL
        and not call.raised
        and serial in call.grads
        and call.number in case.flow.roots
        and case.flow.roots[call.number].tracked & bit
    ]
    if any(call.grads[serial].reached for call in calls):
        return None
    return calls[0] if calls else None


def _halved(case: Case, serial: int, call: Backward) -> OpRow | None:
    """The first op on its way of which only some of the outputs reach the loss."""
    facts = case.facts
    end, roots = facts.row_at(call.op), set(call.roots)
    queue, seen = [serial], {serial}
    while queue:
        for row in facts.users.get(queue.pop(0), ()):
            op = facts.op(row)
            if row >= end or not op.has(Op.OUT_REQUIRES) or op.has(Op.IN_STEP):
                continue
            tracked = [out for at, out in enumerate(op.outs) if op.requires(at)]
            used = [out for out in tracked if _reaches(case, out, roots, row, end)]
            if 0 < len(used) < len(tracked):
                return op
            for out in op.outs:
                if out not in seen and len(seen) < 10_000:
                    seen.add(out)
                    queue.append(out)
    return None


def _reaches(case: Case, out: int, roots: set[int], row: int, end: int) -> bool:
    return out in roots or bool(search(case, {out}, roots, row + 1, end))


def _line(case: Case, op: OpRow) -> Location | None:
    return case.places.at(case.places.kept_at(op.frame), "culprit")


def _tell(case: Case, op: OpRow, call: Backward, serials: list[int]) -> None:
    subjects = case.words.parameters(serials)
    who = case.words.who(subjects, serials)
    location = _line(case, op)
    at = case.places.of(call.frame, "backward")
    roots, end = set(call.roots), case.facts.row_at(call.op)
    unused = [
        index + 1
        for index, out in enumerate(op.outs)
        if op.requires(index) and not _reaches(case, out, roots, op.row, end)
    ]
    which = " and ".join(str(number) for number in unused)
    path = path_to(case, serials[0], roots, call.op)
    if call.roots:
        path.append(loss_step(case, call.roots[0], call.frame))
    case.finding(
        "GP107",
        Severity.WARNING,
        f"{who} {verb(len(subjects))} no gradient: the loss uses only a part of what "
        f"{place(location)} gives out",
        f"{spoken(op)} at {place(location)} gives out {len(op.outs)} tensors. Output {which} is "
        f"what {who} helped to compute, and it goes nowhere: the loss depends on the rest alone.",
        f"use output {which} of this call in what the loss is computed from",
        subjects=subjects,
        locations=[location, at],
        path=path,
        backward=call.number + 1,
        backwards=len(case.expected.judged_in.get(serials[0], ())),
    )
