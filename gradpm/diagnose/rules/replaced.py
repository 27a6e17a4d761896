"""GP402: new parameters stand where those stood that the optimizer still holds."""

from __future__ import annotations

import re

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location, Severity
from gradpm.diagnose.words import place

ORIGINAL = re.compile(r"\.original\d*$")


def replaced_by(case: Case, strays: list[int]) -> dict[int, int]:
    """stray -> the parameter that stood in its place and is still the optimizer's."""
    taken: dict[str, list[int]] = {}
    for serial in case.facts.owners:
        for _, path in case.trace.names.get(serial, ()):
            taken.setdefault(_slot(path), []).append(serial)
    found: dict[int, int] = {}
    for serial in strays:
        for root, path in case.trace.names.get(serial, ()):
            for old in taken.get(_slot(path), ()):
                if _same_place(case, old, root, path) and _gave_way(case, old, serial):
                    found.setdefault(serial, old)
    return found or _by_shape(case, strays)


def _slot(path: str) -> str:
    """A parametrized weight stands where the plain one stood."""
    return ORIGINAL.sub("", path.replace("parametrizations.", ""))


def _same_place(case: Case, old: int, root: str, path: str) -> bool:
    roots = {r for r, p in case.trace.names.get(old, ()) if _slot(p) == _slot(path)}
    return not root or root in roots or "" in roots


def _gave_way(case: Case, old: int, new: int) -> bool:
    """Whether the old one got no gradient from the new one's first on."""
    first = first_fresh(case, new)
    working = {optimizer.id for optimizer in case.loop.at_work(new)}
    made = case.trace.leaves[new].op
    if not any(
        owner.id in working and made >= owner.params[old] for owner in case.facts.owners[old]
    ):
        return False  # its optimizer is at rest too, or was built when both were there
    return not any(call.number >= first for call in case.facts.gradients.calls_that_fed(old))


def first_fresh(case: Case, serial: int) -> int:
    """The number of the first call that gave it a gradient."""
    calls = case.facts.gradients.calls_that_fed(serial)
    return calls[0].number if calls else 1 << 31


def _by_shape(case: Case, strays: list[int]) -> dict[int, int]:
    """Without names to go by: every stray has an owned one of its shape that gave way to it."""
    left = [serial for serial in case.facts.owners if serial in case.trace.leaves]
    found: dict[int, int] = {}
    leaves = case.trace.leaves
    for serial in strays:
        for old in left:
            older = leaves[old].op < leaves[serial].op
            same = leaves[old].spec.shape == leaves[serial].spec.shape
            if older and same and _gave_way(case, old, serial):
                found[serial] = old
                left.remove(old)
                break
    return found if len(found) == len(strays) else {}


def tell(case: Case, replaced: dict[int, int]) -> None:
    """One finding for each line that put new parameters in the place of old ones."""
    places, words = case.places, case.words
    groups: dict[tuple[str, int], list[int]] = {}
    lines: dict[tuple[str, int], Location | None] = {}
    for new, old in replaced.items():
        line = _replacing_line(case, new, old)
        key = (line.file, line.line) if line is not None else ("", 0)
        lines[key] = line
        groups.setdefault(key, []).append(new)
    for key, serials in groups.items():
        culprit = lines[key]
        optimizer = case.facts.owners[replaced[serials[0]]][0]
        made = places.of(optimizer.frame, "optimizer")
        latest = {words.parameter(serial).name: serial for serial in serials}
        subjects = words.parameters(latest.values())  # made anew twice, it is told once
        who = words.who(subjects, list(latest.values()))
        name = places.target(optimizer.frame) or optimizer.type
        calls = [c for c in case.facts.accumulating if any(map(c.grads.is_fresh, serials))]
        copied = culprit is not None and "copy" in culprit.source
        case.finding(
            "GP402",
            Severity.ERROR,
            f"`{name}` still holds the old tensors: {place(culprit)} "
            + (f"made {who} as copies" if copied else f"replaced {who}"),
            f"`{name}` was built at {place(made)} from tensors that {place(culprit)} then "
            + ("copied. " if copied else "replaced by new ones. ")
            + f"The {'copies' if copied else 'new ones'} got gradients in {len(calls)} calls, but "
            "the optimizer steps the old ones, which nothing uses any more.",
            f"build `{name}` after {place(culprit)}, or copy the values into the existing "
            "parameters (load_state_dict, or copy_ under torch.no_grad())",
            subjects=subjects,
            locations=[culprit, made],
            backward=calls[0].number + 1 if calls else None,
            backwards=len(calls),
        )


def _replacing_line(case: Case, new: int, old: int) -> Location | None:
    """The innermost line that made the new one and did not make the old one too.

    A factory's line made both; the line that called it a second time is to blame.
    """
    leaves = case.trace.leaves
    frames = case.places.user_frames(leaves[new].frame)
    before = {(f.path, f.line) for f in case.places.user_frames(leaves[old].frame)}
    for frame in frames:
        if (frame.path, frame.line) not in before:
            return case.places.at(frame, "culprit")
    return case.places.at(frames[-1], "culprit") if frames else None
