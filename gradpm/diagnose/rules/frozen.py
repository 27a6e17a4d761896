"""GP105: given to an optimizer to learn, and frozen."""

from __future__ import annotations

import ast

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location, Severity
from gradpm.diagnose.rules.no_graph import freezing_line
from gradpm.diagnose.words import place


def find(case: Case) -> None:
    """Parameters that an optimizer owns and that never required grad when it counted."""
    if not case.facts.accumulating:
        return
    frozen = [
        serial
        for serial in case.facts.parameters
        if serial in case.expected.owned
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


def _was_there(case: Case, serial: int) -> bool:
    return any(serial in call.grads for call in case.facts.accumulating)


def _tell(case: Case, serials: list[int]) -> None:
    subjects = case.words.parameters(serials)
    who = case.words.who(subjects, serials)
    culprit, callers = freezing_line(case, serials)
    severity = Severity.WARNING if _by_mistake(case, serials, culprit) else Severity.NOTE
    made = case.places.of(case.facts.owners[serials[0]][0].frame, "optimizer")
    one = len(subjects) == 1
    case.finding(
        "GP105",
        severity,
        f"{who} {'is' if one else 'are'} in the optimizer but frozen at {place(culprit)}",
        f"requires_grad is False for {who} since {place(culprit)}, so no backward gives "
        f"{'it' if one else 'them'} a gradient and the optimizer made at {place(made)} passes "
        f"{'it' if one else 'them'} by.",
        f"set requires_grad_(True) on {'it' if one else 'them'} if {'it' if one else 'they'} "
        "should learn, or leave them out of the optimizer",
        subjects=subjects,
        locations=[culprit, *callers, made],
        backward=1,
        backwards=len(case.facts.accumulating),
    )


def _by_mistake(case: Case, serials: list[int], culprit: Location | None) -> bool:
    """Frozen on purpose looks different: a whole module, by a plain loop, before the optimizer."""
    if _whole_group(case, serials):
        return True
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
