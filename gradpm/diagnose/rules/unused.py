"""GP106: parameters that took part in no op; those that were only never drawn are noted."""

from __future__ import annotations

import itertools
import re

from gradpm.diagnose.case import Case
from gradpm.diagnose.finding import Location, Severity, Subject
from gradpm.diagnose.paths import path_to
from gradpm.diagnose.statements import assigned
from gradpm.diagnose.words import place

OFTEN = 5
INDEX = re.compile(r"(?<=\.)\d+(?=\.)")


def tell(case: Case, serials: list[int], location: Location | None) -> None:
    """One line that made them, and all that it made in vain."""
    siblings = _siblings(case)
    waiting = [serial for serial in serials if _waits_its_turn(case, serial, siblings)]
    unused = [serial for serial in serials if serial not in waiting]
    if unused:
        _tell_unused(case, unused, location)
    if waiting:
        _tell_waiting(case, waiting, location)


def _slots(case: Case, serial: int) -> set[tuple[str, str]]:
    """Its places in lists of modules: `experts.3.w1` stands in the slot `experts.*.w1`."""
    return {
        (root, f"{path[: index.start()]}*{path[index.end() :]}")
        for root, path in case.trace.names.get(serial, ())
        for index in INDEX.finditer(path)
    }


def _siblings(case: Case) -> dict[tuple[str, str], set[int]]:
    found: dict[tuple[str, str], set[int]] = {}
    for serial in case.trace.names:
        for slot in _slots(case, serial):
            found.setdefault(slot, set()).add(serial)
    return found


def _waits_its_turn(case: Case, serial: int, siblings: dict[tuple[str, str], set[int]]) -> bool:
    """Whether its siblings in a list of modules take part in some passes and not in others.

    Then the data, or chance, choose among them (experts, exits, layer drop), and one
    that was never chosen is starved, not forgotten: unless chance cannot have done it.
    """
    for slot in _slots(case, serial):
        turns = [
            other
            for other in siblings[slot]
            if 0 < case.loop.first_fresh.get(other, 0) < len(case.expected.judged_in.get(other, ()))
        ]
        if turns:
            return not _never_drawn(case, turns)
    return False


def _never_drawn(case: Case, turns: list[int]) -> bool:
    """Whether one was drawn for each pass, again and again, and this one cannot be drawn at all.

    A draw that gave each of the others OFTEN passes leaves one out by chance once in
    exp(OFTEN). Experts that a router chooses work several in a pass, and tasks that
    follow one another change seldom.
    """
    drawn = [
        [serial for serial in turns if call.grads.is_fresh(serial)]
        for call in case.facts.accumulating
    ]
    drawn = [one for one in drawn if one]
    changes = sum(before != after for before, after in itertools.pairwise(drawn))
    return (
        all(len(one) == 1 for one in drawn)
        and min(case.loop.first_fresh[serial] for serial in turns) >= OFTEN
        and changes > 2 * len(turns)
    )


def _tell_waiting(case: Case, serials: list[int], location: Location | None) -> None:
    subjects = case.words.parameters(serials)
    who = case.words.who(subjects, serials)
    calls = len(case.expected.judged_in.get(serials[0], ()))
    one = len(subjects) == 1
    case.finding(
        "GP106",
        Severity.NOTE,
        f"{who} took part in none of {calls} passes; the others of their list do now and then",
        f"{who} {'is' if one else 'are'} made at {place(location)}, one of a list whose members "
        "take part in some passes and not in others: experts chosen by a router, layers dropped "
        f"at random. {'It was' if one else 'These were'} never chosen in this run.",
        "nothing, if a longer run chooses them; else look at what does the choosing",
        subjects=subjects,
        locations=[location],
        path=path_to(case, serials[0], set(), 0),
        backward=1,
        backwards=calls,
    )


def created(case: Case, serial: int) -> Location | None:
    """The line that made it: the innermost that made nothing but parameters like it.

    A factory's own line made the healthy ones too; its caller tells which is meant.
    Where a whole module was never used, the line that made the module is meant.
    """
    leaf = case.trace.leaves.get(serial)
    if leaf is None:
        return None
    frames = case.places.user_frames(leaf.frame)
    frames = frames[_outside_unused(case, serial) :]
    fine = _lines_of_used(case)
    for frame in frames:
        if (frame.path, frame.line) not in fine:
            return case.places.at(frame, "created")
    return case.places.at(frames[0], "created") if frames else None


def _outside_unused(case: Case, serial: int) -> int:
    """How many frames belong to the making of modules of which nothing was ever used.

    `self.fc = ...` inside the class of `model.gate.fc` stands for the module before
    `fc` in the name: if all of `model.gate` is unused, who made the gate is asked.
    """
    frames = case.places.user_frames(case.trace.leaves[serial].frame)
    parts = case.trace.name(serial).split(".")
    outside = 0
    for index, frame in enumerate(frames[:-1]):
        target = case.places.target_at(frame).rsplit(".", 1)[-1]
        if not target or target not in parts:
            continue
        at = len(parts) - 1 - parts[::-1].index(target)
        if not at or not _all_unused(case, ".".join(parts[:at])):
            break
        parts, outside = parts[:at], index + 1
    return outside


def _all_unused(case: Case, prefix: str) -> bool:
    """Whether no op ever used any parameter under a module's name."""
    flow = case.flow
    return not any(
        flow.touched[serial].first >= 0
        for serial in case.facts.parameters
        if serial in flow.touched and case.trace.name(serial).startswith(prefix + ".")
    )


def _lines_of_used(case: Case) -> set[tuple[str, int]]:
    """Every line on the stacks of parameters that did get a gradient."""
    leaves = case.trace.leaves
    return {
        (frame.path, frame.line)
        for serial in case.expected.received
        if serial in leaves
        for frame in case.places.user_frames(leaves[serial].frame)
    }


def _tell_unused(case: Case, serials: list[int], location: Location | None) -> None:
    subjects = case.words.parameters(serials)
    who = case.words.who(subjects, serials)
    one = len(subjects) == 1
    it = "it" if one else "them"
    owned = all(serial in case.expected.owned for serial in serials)
    given = "registered and given to the optimizer" if owned else "made to learn"
    case.finding(
        "GP106",
        Severity.WARNING,
        f"{who} took part in no op of the forward: created at {place(location)}, never used",
        f"{who[0].upper() + who[1:]} {'is' if one else 'are'} {given}, but no op that autograd "
        f"records ever took {it} as input, so no backward can reach {it}.",
        _use_it(case, subjects, serials, location),
        subjects=subjects,
        locations=[location],
        path=path_to(case, serials[0], set(), 0),
        backward=1,
        backwards=len(case.expected.judged_in.get(serials[0], ())),
    )


def _use_it(
    case: Case, subjects: tuple[Subject, ...], serials: list[int], location: Location | None
) -> str:
    """What to call, or what to use, in the forward."""
    module = case.words.root_module(serials)
    if module and _all_unused(case, module):
        while "." in module and _all_unused(case, module.rpartition(".")[0]):
            module = module.rpartition(".")[0]
        return f"call `{module}` in the forward, or remove it"
    code = case.places.code(location.file) if location is not None else None
    statement = code.statement(location.line) if code is not None and location is not None else None
    made = assigned(statement) if statement is not None else ""
    if made and len(subjects) > 1 and all(made in s.name.split(".") for s in subjects):
        return f"call `{made}` in the forward, or remove it"
    names = " and ".join(f"`{subject.name}`" for subject in subjects[:2])
    return f"use {names if len(subjects) <= 2 else 'them'} in the forward, or remove " + (
        "it" if len(subjects) == 1 else "them"
    )
