"""GP202: a tensor that backward needs was modified in place; who did it, who had saved it."""

from __future__ import annotations

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location, Step, Subject
from gradpm.diagnose.memory import Change
from gradpm.diagnose.raised import Raised
from gradpm.diagnose.rules.modifiers import Modifier, modifier_of, steps_of
from gradpm.diagnose.stale import Stale, stale_of
from gradpm.diagnose.words import place, quoted, sentence, spoken

SAYS = "modified by an inplace operation"


def find(case: Case) -> None:
    """The first error of this kind at each line, explained."""
    for raised in case.raised:
        if SAYS in raised.message and not raised.taken:
            raised.taken = True
            _explain(case, raised)
            return


def _explain(case: Case, raised: Raised) -> None:
    stale = stale_of(case, raised)
    changes = _changes(case, stale, raised)
    modifiers = _modifiers(case, stale, changes, raised)
    if modifiers:
        _tell(case, raised, stale, modifiers, changes)
    else:
        _tell_unseen(case, raised, stale)


def _changes(case: Case, stale: Stale, raised: Raised) -> list[Change]:
    """What changed the saved memory after it was saved and before backward asked for it."""
    after = stale.saver.id if stale.saver is not None else 0
    found = case.memory.changes(stale.roots, after, raised.error.op)
    counted = [
        change
        for change in found
        if change.version < 0 or stale.expected < change.version <= stale.found
    ]
    return counted or found


def _modifiers(case: Case, stale: Stale, changes: list[Change], raised: Raised) -> list[Modifier]:
    """The changes by the line that made them, in the order in which they came."""
    every = [modifier_of(case, change, raised, stale.saver) for change in changes]
    every += steps_of(case, stale.roots, stale.saver, raised)
    found: dict[tuple[str, int], Modifier] = {}
    for modifier in sorted(every, key=lambda one: one.when):
        if modifier.location is not None:
            found.setdefault((modifier.location.file, modifier.location.line), modifier)
    return list(found.values())


def _subjects(
    case: Case, stale: Stale, changes: list[Change], modifier: Modifier | None
) -> list[Subject]:
    """As the line that wrote calls it, then the owner of the memory, then the view if any."""
    frame = case.places.frame(changes[0].op.frame) if changes else None
    wanted = [case.memory.root(changes[0].serial), changes[0].serial] if changes else []
    wanted += [serial for serial in stale.serials if serial not in wanted]
    found: dict[str, Subject] = {}
    written = modifier.written if modifier is not None else None
    if written is not None and changes:
        spec = case.facts.spec_of(changes[0].serial)
        found[written.name] = Subject(
            "tensor", written.name, spec.shape, spec.dtype, changes[0].serial
        )
    for serial in wanted:
        if serial and case.called.known(serial, frame):
            subject = case.called.subject(serial, frame)
            found.setdefault(subject.name, subject)
    if not found and wanted:
        return [case.called.subject(wanted[0], frame)]
    return list(found.values())[:3]


def _saved_as(case: Case, stale: Stale, subjects: list[Subject], name: str) -> str:
    """What the line of the op that saved it calls the tensor."""
    frame = case.places.frame(stale.saver.frame) if stale.saver is not None else None
    if frame is None:
        return name
    here = case.places.names_loaded(frame.path, frame.line) | {case.places.target_at(frame)}
    known = [subject.name for subject in subjects if subject.name.rsplit(".", 1)[-1] in here]
    return name if name in known or not known else known[0]


def _tell(
    case: Case, raised: Raised, stale: Stale, modifiers: list[Modifier], changes: list[Change]
) -> None:
    first = modifiers[0]
    saver_at = _saver_place(case, stale)
    subjects = _subjects(case, stale, changes, first)
    name = subjects[0].name if subjects else "a saved tensor"
    call = raised.call
    at = case.places.of(call.frame if call is not None else raised.error.frame, "backward")
    saver = _saver(case, stale)
    kept_as = _saved_as(case, stale, subjects, name)
    alias = name if kept_as != name else ""
    others = [m for m in modifiers[1:4] if m.location is not None]
    case.finding(
        "GP202",
        raised.severity,
        f"{sentence(quoted(name))} was modified in place at {place(first.location)} "
        f"({first.what}) after {saver} at {place(saver_at)} had saved it for backward",
        _why(kept_as, alias, stale, saver, saver_at, first, at) + _others(others) + raised.end,
        first.cure(name),
        subjects=subjects,
        locations=[
            first.location,
            saver_at,
            *_callers(case, stale),
            *first.more,
            *(case.places.of(op.frame, "saved too") for op in stale.others[:3]),
            *(m.location for m in others),
            at,
        ],
        path=_path(kept_as, stale, saver, saver_at, first, at),
        backward=raised.number,
        backwards=1,
    )


def _why(
    name: str,
    alias: str,
    stale: Stale,
    saver: str,
    saver_at: Location | None,
    modifier: Modifier,
    at: Location | None,
) -> str:
    role = "its result" if stale.is_result else "its input"
    if quoted(name) != name:  # else there is no name to tell
        role += f" {quoted(name)}"
    shape = list(stale.shape)
    versions = (
        f" (version {stale.expected} was saved, version {stale.found} was found)"
        if stale.found >= 0
        else ""
    )
    through = f" through `{alias}`, which shares its memory," if alias else ""
    return (
        f"{sentence(saver)} at {place(saver_at)} keeps {role} {shape} to "
        f"compute its gradient. {sentence(modifier.deed)}{through} overwrote these numbers before "
        f"backward() at {place(at)} could use them{versions}."
    )


def _others(others: list[Modifier]) -> str:
    if not others:
        return ""
    told = ", ".join(f"{place(m.location)} ({m.what})" for m in others)
    return f" It was changed again at {told}."


def _saver(case: Case, stale: Stale) -> str:
    if stale.saver is None:
        return "an earlier op"
    label = spoken(stale.saver)
    if label.startswith("`") and label.endswith(".apply`"):
        return f"the custom Function {label}"
    return label


def _callers(case: Case, stale: Stale) -> list[Location]:
    """The calls that led to the op that saved it: which of several forwards it was."""
    users = case.places.user_frames(stale.saver.frame) if stale.saver is not None else []
    found = [case.places.at(frame, "called from") for frame in users[1:3]]
    return [location for location in found if location is not None]


def _saver_place(case: Case, stale: Stale) -> Location | None:
    return case.places.of(stale.saver.frame, "saved") if stale.saver is not None else None


def _path(
    name: str,
    stale: Stale,
    saver: str,
    saver_at: Location | None,
    modifier: Modifier,
    at: Location | None,
) -> list[Step]:
    op = stale.saver.id if stale.saver is not None else -1
    kept = f"saves {name} {list(stale.shape)} at version {stale.expected}"
    return [
        Step("op", saver.strip("`"), kept, saver_at, op),
        Step("cut", modifier.what.strip("`"), f"version {stale.found}", modifier.location,
             modifier.op.id if modifier.op is not None else -1),
        Step("backward", "backward()", f"needs version {stale.expected} of {name}", at),
    ]  # fmt: skip


def _tell_unseen(case: Case, raised: Raised, stale: Stale) -> None:
    """No change was recorded: say between which lines it must have been."""
    saver_at = _saver_place(case, stale)
    call = raised.call
    at = case.places.of(call.frame if call is not None else raised.error.frame, "backward")
    subjects = _subjects(case, stale, [], None)
    name = subjects[0].name if subjects else f"a tensor {list(stale.shape)}"
    saver = _saver(case, stale)
    case.finding(
        "GP202",
        raised.severity,
        f"`{name}` was modified in place between {place(saver_at)} and {place(at)}",
        f"{saver[0].upper() + saver[1:]} at {place(saver_at)} saved `{name}` {list(stale.shape)} "
        f"at version {stale.expected}; backward() at {place(at)} found version {stale.found}. What "
        "changed its memory in between was no torch function that was recorded: compiled code, "
        f"another thread or a C++ extension.{raised.end}",
        f"give the code that writes into `{name}` a copy of its own: `{name}.clone()`",
        subjects=subjects,
        locations=[saver_at, at],
        backward=raised.number,
        backwards=1,
    )
