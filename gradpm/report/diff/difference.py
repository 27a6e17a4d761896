"""The one view model of two runs beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gradpm.diagnose import Severity
from gradpm.report.diff.matching import Matched, Matcher, Where
from gradpm.report.diff.outcome import Outcome, judge, same_again
from gradpm.report.diff.parameters import ParameterChanges, changes_of
from gradpm.report.diff.side import Side, base, read_side
from gradpm.report.diff.sources import Sources


@dataclass(frozen=True)
class Difference:
    """What differs between two runs, and the verdict on it."""

    before: Side
    after: Side
    findings: Matched
    parameters: ParameterChanges
    sources: Sources
    outcome: Outcome
    verdict: str

    @property
    def is_none(self) -> bool:
        """Whether nothing differs that a comparison tells."""
        found = self.findings
        moved = any(k.where is not Where.SAME or k.fewer or k.more for k in found.kept)
        edited = any(pair.is_changed for pair in self.sources.pairs)
        alone = self.sources.unpaired_before or self.sources.unpaired_after
        differ = any(one != two for _, one, two in table(self))
        findings = found.gone or found.new or moved
        return not (findings or edited or alone or differ) and self.parameters.are_none

    def is_worse(self, level: Severity) -> bool:
        """Whether it cannot be said that nothing so severe is new or worse."""
        found = self.findings.at_least(level)
        worse = bool(found.new) or any(kept.is_worse for kept in found.kept)
        return worse or self.outcome is Outcome.UNCLEAR


def compare(before: Sequence[Path], after: Sequence[Path]) -> Difference:
    """Read both runs and hold one against the other; raises TraceError."""
    one, two = read_side(before), read_side(after)
    parameters, sources = changes_of(one, two), Sources(one, two)
    renamed = parameters.renamed
    known = set(one.gradients), {renamed.get(name, name) for name in two.gradients}
    found = Matcher(sources, renamed, known).match(one.run.findings, two.run.findings)
    loud = found.at_least(Severity.WARNING)
    judged = judge(one, two, loud, parameters)
    told = Difference(one, two, found, parameters, sources, judged.outcome, judged.verdict)
    if judged.outcome in (Outcome.KEPT, Outcome.WELL) and told.is_none:
        return replace(told, verdict=same_again(loud))
    return told


def facts(side: Side) -> Iterator[tuple[str, str]]:
    """(label, text) of a run, for a table of both."""
    run, losses = side.run.run, side.losses
    yield "script", base(side.script)
    yield "arguments", " ".join(map(str, list(run.get("argv") or [])[1:]))
    yield "torch", str(run.get("torch") or "")
    yield "device", str(run.get("device") or "")
    yield "engine calls", str(side.calls)
    yield "optimizer steps", str(run["steps"]) if run.get("steps") is not None else ""
    yield "first loss", f"{losses[0]:.6g}" if losses else ""
    yield "last loss", f"{losses[-1]:.6g}" if losses else ""
    yield "ended", side.exception or ("cut off" if run.get("cut_off") else "well")


ALWAYS = ("engine calls", "optimizer steps", "first loss", "last loss")


def table(difference: Difference) -> list[tuple[str, str, str]]:
    """(label, before, after): what always matters, and of the rest what differs."""
    pairs = zip(facts(difference.before), facts(difference.after), strict=True)
    rows = [(label, one, two) for (label, one), (_, two) in pairs]
    return [row for row in rows if (row[1] or row[2]) and (row[0] in ALWAYS or row[1] != row[2])]
