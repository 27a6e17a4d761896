"""GP105: given to an optimizer to learn, or asked for its gradient, and frozen."""

from __future__ import annotations

import ast

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location, Severity
from gradpm.diagnose.op_names import SWITCHES
from gradpm.diagnose.rules.no_graph import freezing_line
from gradpm.diagnose.words import place
from gradpm.trace.schema import FileKind, LeafKind, Op


def find(case: Case) -> None:
    """Parameters that an optimizer owns and that never required grad when it counted."""
    if not case.facts.accumulating:
        return
    wanted = case.expected.owned if case.facts.optimizers else set(_asked(case))
    frozen = [
        serial
        for serial in case.facts.parameters
        if serial in wanted
        and serial not in case.explained
        and serial not in case.expected.received
        and serial not in case.expected.requiring
        and _was_there(case, serial)
    ]
    groups: dict[tuple[str, int], list[int]] = {}
    for serial in frozen:
        culprit, _ = freezing_line(case, [serial])
        key = (culprit.file, culprit.line) if culprit is not None else ("", 0)
        groups.setdefault(key, []).append(serial)
    for serials in groups.values():
        _tell(case, serials)
    for serial, row in _asked(case).items():
        if serial not in case.explained and serial not in case.trace.leaves:
            _tell_plain(case, serial, row)


def _tell_plain(case: Case, serial: int, row: int) -> None:
    """A tensor made from nothing and without requires_grad, and its `.grad` is read by name."""
    made = case.facts.makers.get(serial)
    op = case.facts.op(made) if made is not None else None
    if op is None or op.ins or op.has(Op.OUT_REQUIRES) or op.has(Op.UNSEEN):
        return
    if serial in case.flow.switched_off or _switched(case, serial):
        return
    culprit = case.places.of(op.frame, "culprit")
    read = case.places.of(case.facts.op(row).frame, "read")
    name = case.places.target(op.frame)
    if not name or read is None or culprit is None:
        return
    if case.uncaught is None and f"{name}.grad" not in read.source:
        return
    case.finding(
        "GP105",
        Severity.ERROR if case.uncaught is not None else Severity.WARNING,
        f"`{name}` never got a gradient: it is made at {place(culprit)} without requires_grad",
        f"`.grad` of `{name}` is read at {place(read)} and is None, since autograd gives gradients "
        f"only to tensors that require one, and {place(culprit)} makes `{name}` without.",
        f"pass `requires_grad=True` where `{name}` is made, or call `{name}.requires_grad_()` "
        "before it is used",
        subjects=[case.words.tensor(serial)],
        locations=[culprit, read],
        backward=1,
        backwards=len(case.facts.accumulating),
    )


def _switched(case: Case, serial: int) -> bool:
    """Whether requires_grad of a tensor was ever touched."""
    rows = case.facts.users.get(serial, ())
    return any(case.facts.op(row).name in SWITCHES for row in rows)


def _was_there(case: Case, serial: int) -> bool:
    return any(serial in call.grads for call in case.facts.accumulating)


def _tell(case: Case, serials: list[int]) -> None:
    subjects = case.words.parameters(serials)
    who = case.words.who(subjects, serials)
    culprit, callers = freezing_line(case, serials)
    severity = Severity.WARNING if _by_mistake(case, serials, culprit) else Severity.NOTE
    owners = case.facts.owners.get(serials[0])
    made = case.places.of(owners[0].frame, "optimizer") if owners else None
    read = case.places.of(case.facts.op(_asked(case)[serials[0]]).frame, "read") if (
        serials[0] in _asked(case)
    ) else None  # fmt: skip
    one = len(subjects) == 1
    it, they = ("it", "it") if one else ("them", "they")
    case.finding(
        "GP105",
        severity,
        f"{who} {'is' if one else 'are'} "
        + ("in the optimizer but " if owners else "asked for a gradient but ")
        + f"frozen at {place(culprit)}",
        f"`requires_grad` is False for {who} since {place(culprit)}, so no backward gives {it} a "
        + (
            f"gradient and the optimizer made at {place(made)} passes {it} by."
            if owners
            else f"gradient: `.grad` is None where {place(read)} reads it."
        ),
        _cure(case, culprit, subjects[0].name, it, they),
        subjects=subjects,
        locations=[culprit, *callers, made, read],
        backward=1,
        backwards=len(case.facts.accumulating),
    )


def _cure(case: Case, culprit: Location | None, name: str, it: str, they: str) -> str:
    """The smallest edit at the line that froze."""
    call = _call_of(case, culprit, "from_pretrained")
    if call is not None:
        return f"pass `freeze=False` to `{ast.unparse(call.func)}(...)`: its default is True"
    if culprit is not None and "requires_grad=False" in culprit.source:
        return f"drop `requires_grad=False` from the line that makes `{name}`"
    if culprit is not None and _under_a_filter(case, culprit):
        return (
            f"let the condition at {place(culprit)} choose the other parameters only, if {they} "
            "should learn"
        )
    leave = f", or leave {it} out of the optimizer" if case.facts.optimizers else ""
    return f"set requires_grad_(True) on {it} if {they} should learn{leave}"


def _call_of(case: Case, culprit: Location | None, method: str) -> ast.Call | None:
    """The call of a method that stands in the culprit's statement."""
    code = case.places.code(culprit.file) if culprit is not None else None
    statement = code.statement(culprit.line) if code is not None and culprit is not None else None
    for node in ast.walk(statement) if statement is not None else ():
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == method:
            return node
    return None


def _asked(case: Case) -> dict[int, int]:
    """Serials whose `.grad` the user's own code read after a backward, and got None: the row."""
    first = case.facts.accumulating[0].op
    found: dict[int, int] = {}
    for op in case.facts.empty_reads:
        stack = case.trace.stack(op.frame)
        if op.id >= first and stack and stack[0].kind is FileKind.USER:
            found.setdefault(op.ins[0], op.row)
    return found


def _by_mistake(case: Case, serials: list[int], culprit: Location | None) -> bool:
    """Frozen on purpose looks different: a whole module, by a plain loop, before the optimizer."""
    if not case.facts.optimizers:
        return True  # its gradient was asked for
    if _whole_group(case, serials) or _chosen(case, serials) or _read_by_name(case, serials):
        return True
    if all(case.trace.leaves[serial].kind is not LeafKind.PARAMETER for serial in serials):
        return True  # a plain tensor goes into an optimizer for one purpose only
    freezing = _call_of(case, culprit, "from_pretrained")
    if freezing is not None and len(freezing.args) < 2:  # frozen by a default, unsaid
        return all(keyword.arg not in ("freeze", None) for keyword in freezing.keywords)
    switched = [case.flow.switched_off.get(serial, -1) for serial in serials]
    for serial, row in zip(serials, switched, strict=True):
        owner = case.facts.owners[serial][0]
        if row >= 0 and case.facts.op(row).id > owner.params[serial]:
            return True  # the optimizer was given it while it still required grad
    return culprit is not None and _under_a_filter(case, culprit)


def _whole_group(case: Case, serials: list[int]) -> bool:
    """Whether a group of the optimizer holds nothing but frozen parameters."""
    mine = set(serials)
    for event in case.trace.events:
        if event.kind not in ("optimizer.new", "optimizer.group"):
            continue
        groups = event.detail.get("groups")
        for group in groups if isinstance(groups, list) else ():
            held = set(group.get("params") or ()) if isinstance(group, dict) else set()
            if held and held <= mine:
                return True
    return False


def _chosen(case: Case, serials: list[int]) -> bool:
    """Whether the optimizer was given these and not others that the same call froze with them."""
    flow, facts = case.flow, case.facts
    calls = {facts.op(flow.switched_off[s]).frame for s in serials if s in flow.switched_off}
    return any(
        facts.op(row).frame in calls
        for serial, row in flow.switched_off.items()
        if serial not in case.expected.owned and serial not in case.expected.requiring
    )


def _read_by_name(case: Case, serials: list[int]) -> bool:
    """Whether a line reads this very parameter's `.grad`: `net.embed.weight.grad`, no loop.

    A line that asks whether it is None knows that it may be.
    """
    asked = _asked(case)
    for serial in serials:
        read = case.places.of(case.facts.op(asked[serial]).frame, "") if serial in asked else None
        last = case.trace.name(serial).rsplit(".", 1)[-1]
        if read is not None and f"{last}.grad" in read.source and " None" not in read.source:
            return True
    return False


def _under_a_filter(case: Case, culprit: Location) -> bool:
    """Whether the freezing line decides by a name: `if "block.1" in name`."""
    code = case.places.code(culprit.file)
    for node in code.enclosing(culprit.line):
        if isinstance(node, ast.If) and node.lineno <= culprit.line:
            deciding = (ast.Call, ast.Compare, ast.Constant)
            return any(isinstance(inner, deciding) for inner in ast.walk(node.test))
    statement = code.statement(culprit.line)
    value = getattr(statement, "value", None)
    return isinstance(value, (ast.Compare, ast.BoolOp)) or (
        isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.Not)
    )
