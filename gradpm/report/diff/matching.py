"""Which finding of the one run is which of the other: by code, parameters and place.

A line number says little once a file was edited, so it is not asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from gradpm.diagnose import Finding, Severity
from gradpm.report.diff.sources import Sources


class Where(Enum):
    """Where a finding that is still there stands now."""

    SAME = "same"
    MOVED = "moved"  # the same line, under another number
    OTHER = "other"  # another line


@dataclass(frozen=True, slots=True)
class Kept:
    """A finding that is in both runs."""

    before: Finding
    after: Finding
    where: Where
    fewer: tuple[str, ...]  # subjects that it does not speak of any more
    more: tuple[str, ...]  # subjects that it did not speak of

    @property
    def is_worse(self) -> bool:
        """Whether it is more severe, or explains what was well before."""
        return self.after.severity > self.before.severity or bool(self.more)


@dataclass(slots=True)
class Matched:
    """All findings of both runs, the most severe first."""

    gone: list[Finding] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    new: list[Finding] = field(default_factory=list)

    def at_least(self, level: Severity) -> Matched:
        """The findings that are so severe, before or after."""
        return Matched(
            [one for one in self.gone if one.severity >= level],
            [k for k in self.kept if max(k.before.severity, k.after.severity) >= level],
            [one for one in self.new if one.severity >= level],
        )


class Matcher:
    """`renamed` tells the name before of a parameter whose name changed."""

    def __init__(
        self, sources: Sources, renamed: Mapping[str, str], known: tuple[set[str], set[str]]
    ) -> None:
        self._sources = sources
        self._renamed = renamed
        self._known = known

    def match(self, before: Sequence[Finding], after: Sequence[Finding]) -> Matched:
        """Each with its nearest; what is left joins one that speaks of all its parameters."""
        near = [
            (likeness, -b, -a)
            for b, one in enumerate(before)
            for a, two in enumerate(after)
            if (likeness := self._likeness(one, two)) > 0
        ]
        pairs: dict[int, int] = {}  # after -> before
        for _, b, a in sorted(near, reverse=True):
            if -b not in pairs.values() and -a not in pairs:
                pairs[-a] = -b
        for a, two in enumerate(after):
            if a not in pairs and (whole := self._part_of(two, before)) >= 0:
                pairs[a] = whole
        met = dict.fromkeys(pairs.values())
        told = {(b, a) for a, b in pairs.items()}
        for b, one in enumerate(before):
            if b not in met and (whole := self._whole_of(one, after)) >= 0:
                told.add((b, whole))
        met.update(dict.fromkeys(b for b, _ in told))
        return Matched(
            [one for b, one in enumerate(before) if b not in met],
            [self._kept(before, b, after, a) for b, a in sorted(told)],
            [two for a, two in enumerate(after) if a not in pairs],
        )

    def names(self, finding: Finding) -> set[str]:
        """What a finding of after is about, by the names before."""
        return {self._renamed.get(one.name, one.name) for one in finding.subjects}

    def _likeness(self, before: Finding, after: Finding) -> float:
        """Above zero when these can be the same finding."""
        if before.code != after.code:
            return 0.0
        one, two = {subject.name for subject in before.subjects}, self.names(after)
        both = len(one & two) / len(one | two) if one or two else 0.0
        return 2 * both + self._is_same_place(before, after)

    def _is_same_place(self, before: Finding, after: Finding) -> bool:
        one, two = before.culprit, after.culprit
        if one is None or two is None:
            return one is two and not (before.subjects or after.subjects)
        return self._sources.is_same(one, two)

    def _part_of(self, after: Finding, before: Sequence[Finding]) -> int:
        """Which finding before spoke of all that this one speaks of; -1 for none."""
        names = self.names(after)
        for at, one in enumerate(before):
            if names and one.code == after.code and names <= {s.name for s in one.subjects}:
                return at
        return -1

    def _whole_of(self, before: Finding, after: Sequence[Finding]) -> int:
        """Which finding after speaks of all that this one spoke of; -1 for none."""
        names = {subject.name for subject in before.subjects}
        for at, two in enumerate(after):
            if names and two.code == before.code and names <= self.names(two):
                return at
        return -1

    def _kept(self, before: Sequence[Finding], b: int, after: Sequence[Finding], a: int) -> Kept:
        """A pair; what became more or fewer is counted over all findings of the code."""
        one, two = before[b], after[a]
        had = {s.name for f in before if f.code == one.code for s in f.subjects}
        has = {name for f in after if f.code == two.code for name in self.names(f)}
        fewer = [s.name for s in one.subjects if s.name not in has and s.name in self._known[1]]
        more = [
            s.name for s in two.subjects
            if (name := self._renamed.get(s.name, s.name)) not in had and name in self._known[0]
        ]  # fmt: skip
        return Kept(one, two, self._where(one, two), tuple(fewer), tuple(more))

    def _where(self, before: Finding, after: Finding) -> Where:
        one, two = before.culprit, after.culprit
        if one is None or two is None or not self._is_same_place(before, after):
            return Where.SAME if one is two else Where.OTHER
        return Where.SAME if one.line == two.line else Where.MOVED
