"""GP109 and GP110: tracked to the loss, and still left without a gradient."""

from __future__ import annotations

from gradpm.diagnose import functions
from gradpm.diagnose.backwards import Backward
from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location, Severity
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.paths import loss_step, path_to
from gradpm.diagnose.words import place, verb
from gradpm.trace.schema import Call, Op


def find(case: Case) -> None:
    """Explain parameters whose path to the loss is whole."""
    _excluded(case)
    _returned_none(case)


def _tracked_calls(case: Case, serial: int) -> list[Backward]:
    """The calls whose roots depend on this parameter with the path whole."""
    bit = case.flow.bit.get(serial, 0)
    return [
        call
        for call in case.facts.backwards
        if not call.raised
        and call.number in case.flow.roots
        and case.flow.roots[call.number].tracked & bit
    ]


def _excluded(case: Case) -> None:
    groups: dict[tuple[str, int], list[int]] = {}
    calls: dict[tuple[str, int], Backward] = {}
    for serial in _candidates(case):
        if serial in case.explained:
            continue
        tracked = _tracked_calls(case, serial)
        if not tracked or not all(call.flags & Call.INPUTS for call in tracked):
            continue
        fit = [call for call in tracked if _asks_for_siblings(case, call, serial)]
        if not fit or any(serial in call.inputs for call in tracked):
            continue
        location = case.places.of(fit[0].frame, "culprit")
        if location is not None:
            key = (location.file, location.line)
            groups.setdefault(key, []).append(serial)
            calls.setdefault(key, fit[0])
    for key, serials in groups.items():
        _tell_excluded(case, serials, calls[key])


def _candidates(case: Case) -> list[int]:
    """The starved, and in scripts that use autograd.grad alone every parameter."""
    if case.facts.accumulating:
        return list(case.expected.starved)
    received = case.expected.received
    return [s for s in case.facts.parameters if s not in received and s in case.expected.learners]


def _asks_for_siblings(case: Case, call: Backward, serial: int) -> bool:
    """Whether the call asks for other learners, so that leaving this one out is a slip."""
    learners = case.expected.learners
    if serial in case.expected.owned and not call.is_grad_call:
        return True
    own = case.trace.name(serial).split(".")[0]
    return any(
        other in learners and case.trace.name(other).split(".")[0] == own for other in call.inputs
    )


def _tell_excluded(case: Case, serials: list[int], call: Backward) -> None:
    subjects = case.words.parameters(serials)
    who = case.words.who(subjects, serials)
    at = case.places.of(call.frame, "culprit")
    name = "torch.autograd.grad(...)" if call.is_grad_call else "backward(inputs=...)"
    it = "it" if len(subjects) == 1 else "them"
    path = path_to(case, serials[0], set(call.roots), call.op)
    if call.roots:
        path.append(loss_step(case, call.roots[0], call.frame))
    case.finding(
        "GP109",
        Severity.ERROR,
        f"{who} {verb(len(subjects))} no gradient: the call at {place(at)} leaves {it} out of "
        "its inputs",
        f"The loss depends on {it} and the path is whole, but {name} computes "
        f"gradients for the {len(call.inputs)} tensors it is given and for nothing else.",
        f"add {it} to the tensors that torch.autograd.grad is asked for"
        if call.is_grad_call
        else f"add {it} to `inputs`, or call backward() without `inputs`",
        subjects=subjects,
        locations=[at, *_callers(case, call)],
        path=path,
        backward=call.number + 1,
        backwards=len(case.expected.judged_in.get(serials[0], ())) or 1,
    )


def _callers(case: Case, call: Backward) -> list[Location | None]:
    return [case.places.at(f, "called from") for f in case.places.user_frames(call.frame)[1:3]]


def _returned_none(case: Case) -> None:
    groups: dict[tuple[str, int, int], tuple[OpRow, int, Location, list[int]]] = {}
    for serial in case.expected.starved:
        if serial in case.explained:
            continue
        tracked = [call for call in _tracked_calls(case, serial) if not call.flags & Call.INPUTS]
        if not tracked:
            continue
        found = _swallowing(case, serial, tracked[0])
        if found is None:
            continue
        op, position = found[0], functions.argument_at(case, *found)
        location = functions.return_line(case, op, position) or case.places.of(op.frame, "culprit")
        if location is not None:
            key = (location.file, location.line, op.name.__hash__())
            groups.setdefault(key, (op, position, location, []))[3].append(serial)
    for op, position, location, serials in groups.values():
        _tell_returned(case, op, position, location, serials)


def _swallowing(case: Case, serial: int, call: Backward) -> tuple[OpRow, int] | None:
    """(the custom Function nearest the parameter on its way, the place among its inputs)."""
    facts = case.facts
    end = facts.row_at(call.op)
    values = {serial}
    queue = [serial]
    best: tuple[OpRow, int] | None = None
    while queue:
        at = queue.pop(0)
        for row in facts.users.get(at, ()):
            op = facts.op(row)
            if row >= end or not op.has(Op.OUT_REQUIRES) or op.has(Op.IN_STEP):
                continue
            if op.has(Op.FUNCTION) and op.name != "CheckpointFunction.apply":
                if best is None or row < best[0].row:
                    best = (op, op.ins.index(at))
                continue
            for out in op.outs:
                if out not in values and len(values) < 20_000:
                    values.add(out)
                    queue.append(out)
    return best


def _tell_returned(
    case: Case, op: OpRow, position: int, location: Location, serials: list[int]
) -> None:
    subjects = case.words.parameters(serials)
    who = case.words.who(subjects, serials)
    name = op.name.removesuffix(".apply")
    argument = functions.argument_name(case, op, position)
    given = f"its input `{argument}`" if argument else "that input"
    call = _tracked_calls(case, serials[0])[0]
    path = path_to(case, serials[0], set(call.roots), call.op, op.row)
    if call.roots:
        path.append(loss_step(case, call.roots[0], call.frame))
    case.finding(
        "GP110",
        Severity.ERROR,
        f"{who} {verb(len(subjects))} no gradient: `{name}.backward` returned None at "
        f"{place(location)}",
        f"`{name}.apply` takes part in the graph between {who} and the loss, but its backward "
        f"gives None for {given}, and autograd takes None for `no gradient`. "
        "Everything behind that input stays without a gradient.",
        f"return the gradient of `{argument}` as value {position + 1} at {place(location)}"
        if argument
        else "return a gradient for every input that ctx.needs_input_grad marks in "
        f"`{name}.backward`",
        subjects=subjects,
        locations=[location, case.places.of(op.frame, "applied")],
        path=path,
        backward=call.number + 1,
        backwards=len(case.expected.judged_in.get(serials[0], ())),
    )
