"""GP401 and GP402: parameters that get gradients which no optimizer applies."""

from __future__ import annotations

from dataclasses import dataclass, field

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location, Severity
from gradpm.diagnose.optimizers import Optimizer
from gradpm.diagnose.rules import replaced
from gradpm.diagnose.words import place
from gradpm.trace.schema import Call, LeafKind, Table

FEWEST = 2  # engine calls that gave it a gradient


@dataclass
class Strays:
    """Parameters outside every optimizer, for one reason."""

    why: str  # late, thawed, unlisted, left out
    optimizer: Optimizer
    serials: list[int] = field(default_factory=list)


def find(case: Case) -> None:
    """Tell replaced parameters from forgotten ones."""
    candidates = [serial for serial in case.trace.leaves if _is_stray(case, serial)]
    at_work = {serial: case.loop.at_work(serial) for serial in candidates}
    strays = [serial for serial in candidates if _trains_modules(case, at_work[serial])]
    if not strays:
        return
    gave_way = replaced.replaced_by(case, strays)
    if gave_way:
        replaced.tell(case, gave_way)
        case.explained.update(gave_way.values())
    groups: dict[tuple[str, int], Strays] = {}
    for serial in strays:
        if serial not in gave_way:
            optimizer = _nearest(case, serial, at_work[serial])
            why = _why(case, serial, optimizer)
            found = groups.setdefault((why, optimizer.id), Strays(why, optimizer))
            found.serials.append(serial)
    for group in groups.values():
        _tell_left_out(case, group)


def _trains_modules(case: Case, optimizers: list[Optimizer]) -> bool:
    """Whether these own parameters of modules, not only pictures or latents."""
    return any(
        case.trace.leaves[serial].kind is LeafKind.PARAMETER and _is_in_module(case, serial)
        for optimizer in optimizers
        for serial in optimizer.params
        if serial in case.trace.leaves
    )


def _is_stray(case: Case, serial: int) -> bool:
    leaf = case.trace.leaves[serial]
    if leaf.kind is not LeafKind.PARAMETER or serial in case.facts.owners:
        return False
    if serial in case.explained or case.loop.first_fresh.get(serial, 0) < FEWEST:
        return False
    gradients = case.facts.gradients
    rows = gradients.fed.get(serial, ())
    if len({gradients.versions[row] for row in rows}) > 1 or _moved_by_hand(case, serial):
        return False  # the program updates it by itself
    if serial in _inner(case):
        return False
    return any(gradients.norms[row] > 0 for row in rows) and not _evaluated(case, serial)


def _moved_by_hand(case: Case, serial: int) -> bool:
    facts = case.facts
    first = facts.accumulating[0].op
    return any(
        facts.op(row).name in ("data.__get__", "data.__set__") and facts.op(row).id >= first
        for row in facts.users.get(serial, ())
    )


def _inner(case: Case) -> set[int]:
    """What a differentiable inner step starts from: its updates are new tensors, learnt through.

    `higher`, torchopt and MAML by hand ask `autograd.grad(loss, parameters, create_graph=True)`.
    """
    both = Call.CREATE | Call.INPUTS
    return {
        serial
        for call in case.facts.backwards
        if call.is_grad_call and call.flags & both == both
        for serial in call.inputs
    }


def _evaluated(case: Case, serial: int) -> bool:
    """Whether the module it is used in was in eval mode: kept as it is on purpose."""
    facts = case.facts
    columns, modules = case.trace.table(Table.SCOPE), case.trace.table(Table.MODULE)
    for row in facts.users.get(serial, ()):
        scope = facts.op(row).scope
        if 0 < scope < columns.rows and facts.op(row).name != "Parameter":
            module = columns["module"][scope]
            return bool(module < len(modules) and not modules["training"][module])
    return False


def _is_in_module(case: Case, serial: int) -> bool:
    """Whether a module holds it: then its name has a root variable, or a dot."""
    return any(root or "." in path for root, path in case.trace.names.get(serial, ()))


def _path(case: Case, serial: int) -> tuple[str, str]:
    """(root variable, dotted path inside it); a bare variable has no path."""
    names = case.trace.names.get(serial)
    if not names:
        return "", ""
    return next((pair for pair in names if "." in pair[1]), names[0])


# -- left out -------------------------------------------------------------------------


def _nearest(case: Case, serial: int, optimizers: list[Optimizer]) -> Optimizer:
    """The optimizer that owns most of the same module; else the last made."""
    root, _ = _path(case, serial)
    inside = _callers(case, serial)

    def closeness(optimizer: Optimizer) -> tuple[int, int]:
        same = sum(_path(case, other)[0] == root for other in optimizer.params) if root else 0
        around = sum(bool(_callers(case, other) & inside) for other in optimizer.params)
        return same + around, optimizer.id

    return max(optimizers, key=closeness)


def _callers(case: Case, serial: int) -> set[int]:
    """Modules whose forward calls the one that uses this parameter."""
    facts = case.facts
    columns = case.trace.table(Table.SCOPE)
    found: set[int] = set()
    for row in facts.users.get(serial, ())[:4]:
        scope = facts.op(row).scope
        while 0 < scope < columns.rows:
            found.add(columns["module"][scope])
            scope = columns["parent"][scope]
    return found


def _why(case: Case, serial: int, optimizer: Optimizer) -> str:
    leaf = case.trace.leaves[serial]
    if leaf.op > optimizer.op and leaf.frame:
        return "late"
    if _was_frozen(case, serial, optimizer):
        return "thawed"
    root, _ = _path(case, serial)
    roots = {_path(case, other)[0] for other in optimizer.params}
    owned = set().union(*(_callers(case, other) for other in optimizer.params))
    if root not in roots and _callers(case, serial) & owned:
        return "unlisted"
    return "left out"


def _was_frozen(case: Case, serial: int, optimizer: Optimizer) -> bool:
    """Whether it did not require grad when the optimizer was built."""
    for row in case.facts.users.get(serial, ()):
        op = case.facts.op(row)
        if op.name in ("requires_grad_", "requires_grad.__set__") and op.id > optimizer.op:
            return True
    return False


def _tell_left_out(case: Case, group: Strays) -> None:
    places, words = case.places, case.words
    culprit = places.of(group.optimizer.frame, "culprit")
    subjects = words.parameters(group.serials)
    who = words.who(subjects, group.serials)
    leaf = case.trace.leaves[group.serials[0]]
    created = places.of(leaf.frame, "created")
    name = places.target(group.optimizer.frame) or group.optimizer.type
    module = words.root_module(group.serials) or subjects[0].name
    thawed = _thawing(case, group) if group.why == "thawed" else None
    calls = case.loop.first_fresh[group.serials[0]]
    alone = len(subjects) == 1
    them, one = ("it", "this one") if alone else ("them", "one of them")
    because = {
        "late": f"They came at {place(created)}, after `{name}` had been built.",
        "thawed": f"When `{name}` was built they did not require grad; {place(thawed)} "
        "unfroze them later.",
        "unlisted": "The module that uses them does not list them among its parameters() "
        "(a plain list or dict of modules is not registered), so the optimizer never saw them.",
        "left out": f"None of the tensors given to `{name}` is {one}"
        f"{_twin(case, group.optimizer)}.",
    }[group.why]
    fix = {
        "late": f"make them before `{name}` is built, or call `{name}.add_param_group`",
        "thawed": f'call `{name}.add_param_group({{"params": {module}.parameters()}})` '
        "where they are unfrozen",
        "unlisted": "keep them in an nn.ModuleList, nn.ModuleDict or nn.ParameterList",
        "left out": f"give {them} to `{name}` too, or freeze {them} with requires_grad_(False) if "
        f"{'it is' if alone else 'they are'} not meant to learn",
    }[group.why]
    severity = Severity.WARNING if group.why == "left out" else Severity.ERROR
    case.finding(
        "GP401",
        severity,
        f"No optimizer owns {who}: `{name}` at {place(culprit)} was built without {them}",
        f"{who[0].upper() + who[1:]} got gradients in {calls} calls, and no optimizer applies "
        f"them. {because}",
        fix,
        subjects=subjects,
        locations=[culprit, thawed, created],
        backward=replaced.first_fresh(case, group.serials[0]) + 1,
        backwards=calls,
    )


def _twin(case: Case, optimizer: Optimizer) -> str:
    """`: they are those of opt_g`, where another optimizer was given the very same ones."""
    for other in case.facts.optimizers:
        if other is not optimizer and other.params.keys() == optimizer.params.keys():
            name = case.places.target(other.frame) or other.type
            return f": they are the same ones that `{name}` has"
    return ""


def _thawing(case: Case, group: Strays) -> Location | None:
    """The user's outermost recent call that let them require grad again."""
    for row in case.facts.users.get(group.serials[0], ()):
        op = case.facts.op(row)
        if op.name in ("requires_grad_", "requires_grad.__set__") and op.id > group.optimizer.op:
            frames = case.places.user_frames(op.frame)
            return case.places.at(frames[min(1, len(frames) - 1)], "unfrozen") if frames else None
    return None
