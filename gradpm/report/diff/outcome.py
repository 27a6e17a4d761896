"""The answer: did the fix work? One word for programs, one or two sentences for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from gradpm.diagnose import Finding
from gradpm.report.diff.matching import Kept, Matched, Where
from gradpm.report.diff.parameters import ParameterChanges
from gradpm.report.diff.side import Side, base


class Outcome(Enum):
    """What became of the errors and warnings."""

    MENDED = "mended"  # all that were there are gone, none is new
    PARTLY = "partly"  # some are gone or explain less, none is new
    KEPT = "kept"  # all are still there, none is new
    WORSE = "worse"  # one is new, more severe, or explains what was well before
    WELL = "well"  # there was none, there is none
    UNCLEAR = "unclear"  # the second run cannot show it


@dataclass(frozen=True, slots=True)
class Judgement:
    """An outcome, and the sentences that say it."""

    outcome: Outcome
    verdict: str


def judge(before: Side, after: Side, loud: Matched, parameters: ParameterChanges) -> Judgement:
    """Hold the errors and warnings of two runs against each other."""
    foreign = _foreign(before, after, parameters)
    if foreign:
        return Judgement(Outcome.UNCLEAR, foreign)
    if loud.new or any(kept.is_worse for kept in loud.kept):
        return Judgement(Outcome.WORSE, " ".join(_worse(before, loud)))
    doubts = "; ".join(_doubts(before, after, loud))
    if doubts:
        return Judgement(Outcome.UNCLEAR, _capital(f"{_before_doubts(loud)}{doubts}."))
    if loud.kept:
        lessened = any(kept.fewer for kept in loud.kept)
        outcome = Outcome.PARTLY if loud.gone or lessened else Outcome.KEPT
        return Judgement(outcome, _still(loud))
    return _all_well(before, after, loud)


def same_again(loud: Matched) -> str:
    """The verdict on two runs in which nothing differs."""
    if loud.kept:
        return f"No difference: {_listed_kept(loud.kept)} {_is(loud.kept)} still there."
    return "No difference: nothing is wrong, as nothing was before."


def _all_well(before: Side, after: Side, loud: Matched) -> Judgement:
    if loud.gone:
        told = f"The fix worked: {listed(loud.gone)} {_is(loud.gone)} gone, nothing is new."
        return Judgement(Outcome.MENDED, told)
    if after.exception:
        told = f"Both runs ended by {after.exception}, which gradpm cannot explain."
        return Judgement(Outcome.KEPT, told)
    if before.exception:
        told = f"The fix worked: the run does not end by {before.exception} any more."
        return Judgement(Outcome.MENDED, f"{told} Nothing is new.")
    return Judgement(Outcome.WELL, "Nothing is wrong, as nothing was before.")


def _worse(before: Side, loud: Matched) -> Iterator[str]:
    """What is new, and what is gone all the same."""
    heirs = [new for new in loud.new if _inherits(new, loud.gone)]
    if heirs and len(heirs) == len(loud.new):
        yield (
            f"The cause changed, the effect did not: {listed(loud.gone)} {_is(loud.gone)} gone, "
            f"but {listed(heirs)} {_is(heirs)} new."
        )
    elif loud.new:
        gone = f"{_capital(listed(loud.gone))} {_is(loud.gone)} gone, but " if loud.gone else ""
        yield f"{gone}{listed(loud.new)} {_is(loud.new)} new."
    if before.exception and loud.new:
        yield f"The run before ended by {before.exception}, so it may not have got that far."
    worse = [kept for kept in loud.kept if kept.is_worse]
    if worse:
        yield f"{_listed_kept(worse)} got worse."
    same = [kept for kept in loud.kept if not kept.is_worse]
    if same:
        yield f"{_listed_kept(same)} {_is(same)} still there."


def _inherits(new: Finding, gone: Sequence[Finding]) -> bool:
    """Whether only the reason changed why these parameters get no gradient."""
    without = [finding for finding in gone if finding.code.startswith("GP1")]
    lost = {subject.name for finding in without for subject in finding.subjects}
    names = {subject.name for subject in new.subjects}
    return new.code.startswith("GP1") and bool(names) and names <= lost


def _still(loud: Matched) -> str:
    still = f"{_listed_kept(loud.kept)} {_is(loud.kept)} still there"
    if loud.gone:
        return f"The fix worked in part: {listed(loud.gone)} {_is(loud.gone)} gone, but {still}."
    fewer = {name for kept in loud.kept for name in kept.fewer}
    if fewer:
        whom = f"`{fewer.pop()}`" if len(fewer) == 1 else f"{len(fewer)} others"
        return f"The fix worked in part: {still}, but {whom} came free."
    return f"Nothing was mended: {still}."


def _foreign(before: Side, after: Side, parameters: ParameterChanges) -> str:
    """Why the two can say nothing of each other; empty when they can."""
    one, two = base(before.script), base(after.script)
    shared = parameters.shared or not (before.gradients and after.gradients)
    if one == two or shared:
        return ""
    return f"These are runs of two programs: {one} and {two} have no parameter in common."


def _doubts(before: Side, after: Side, loud: Matched) -> Iterator[str]:
    """Why what is gone may only not have been reached."""
    raised = any(finding.code.startswith("GP2") for finding in loud.gone)
    told = any(kept.after.code.startswith("GP2") for kept in loud.kept)
    if after.exception and not told and (raised or after.exception != before.exception):
        yield f"the run after ended by {after.exception}, which gradpm cannot explain"
    run, dropped = after.run.run, after.run.run.get("dropped") or {}
    if run.get("cut_off") and not before.run.run.get("cut_off"):
        yield "the run after was killed or still runs"
    if dropped.get("stopped"):
        yield "the recording after stopped early"
    if before.calls and not after.calls:
        yield "the run after made no engine call"
        return
    late = [one for one in loud.gone if (one.backward or 0) > after.calls]
    if late:
        calls = f"{after.calls} engine call{'s' if after.calls > 1 else ''}"
        yield f"the run after made {calls}, and {late[0].code} came in number {late[0].backward}"
    if dropped.get("unmeasured") == after.filling > 0 and any(
        one.code.startswith("GP3") for one in loud.gone
    ):
        yield "gradients were not looked at node by node after"


def _before_doubts(loud: Matched) -> str:
    """What was seen all the same."""
    gone = f"{listed(loud.gone)} {_is(loud.gone)} not seen any more" if loud.gone else ""
    kept = f"{_listed_kept(loud.kept)} {_is(loud.kept)} still there" if loud.kept else ""
    if gone:
        return f"{f'{kept}; ' if kept else ''}{gone}, but that proves nothing: "
    return f"{kept}, and more cannot be said: " if kept else ""


def listed(findings: Sequence[Finding]) -> str:
    """`GP101 of 6 parameters and GP403 at train.py:10`; the rest counted."""
    return _joined([spoken(finding) for finding in findings])


def _listed_kept(kept: Sequence[Kept]) -> str:
    return _joined([spoken(one.after) + _place(one) for one in kept])


def _place(kept: Kept) -> str:
    """Where a finding that is still there went."""
    one, two = kept.before.culprit, kept.after.culprit
    if one is None or two is None or kept.where is Where.SAME:
        return ""
    now = f"now by {two.short()}" if kept.where is Where.OTHER else f"now at {two.short()}"
    was = one.short() if base(one.file) != base(two.file) else f"line {one.line}"
    return f" ({now}, {was} before)"


def spoken(finding: Finding) -> str:
    """A finding in few words."""
    if len(finding.subjects) == 1:
        return f"{finding.code} of `{finding.subjects[0].name}`"
    if finding.subjects:
        kinds = {subject.kind for subject in finding.subjects}
        noun = f"{kinds.pop()}s" if len(kinds) == 1 else "tensors"
        return f"{finding.code} of {len(finding.subjects)} {noun}"
    return f"{finding.code} at {finding.culprit.short()}" if finding.culprit else finding.code


def _joined(told: Sequence[str]) -> str:
    shown = list(told) if len(told) <= 3 else [*told[:2], f"{len(told) - 2} more"]
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]


def _is(told: Sequence[object]) -> str:
    return "is" if len(told) == 1 else "are"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
