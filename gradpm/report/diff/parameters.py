"""How the parameters of two runs differ: in their gradients, their shapes, their being there."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from gradpm.report.diff.gradients import Fate, Gradients
from gradpm.report.diff.side import Side

MUCH = 10.0  # a norm that changed by more than this factor is told


@dataclass(frozen=True, slots=True)
class NormChange:
    """The median norm of a gradient over the engine calls that both runs made."""

    name: str
    before: float
    after: float

    @property
    def times(self) -> float:
        """How many times as large it is."""
        return self.after / self.before


@dataclass(slots=True)
class ParameterChanges:
    """What differs; names are those of after, but for what is only before."""

    shared: int = 0  # how many parameters both runs have
    renamed: dict[str, str] = field(default_factory=dict)  # name after -> name before
    fates: list[tuple[str, Fate, Fate]] = field(default_factory=list)
    norms: list[NormChange] = field(default_factory=list)
    reshaped: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    only_before: list[str] = field(default_factory=list)
    only_after: list[str] = field(default_factory=list)

    @property
    def are_none(self) -> bool:
        """Whether nothing differs."""
        lists = (self.fates, self.norms, self.reshaped, self.only_before, self.only_after)
        return not any(lists)


def changes_of(before: Side, after: Side) -> ParameterChanges:
    """Hold each parameter against that of the same name; else of the same path in the model."""
    found = ParameterChanges(renamed=_renamed(before.gradients, after.gradients))
    calls = min(before.filling, after.filling)
    met = set()
    for name, two in after.gradients.items():
        known = found.renamed.get(name, name)
        one = before.gradients.get(known)
        if one is None:
            found.only_after.append(name)
            continue
        met.add(known)
        _compare(found, one, two, calls)
    found.shared = len(met)
    found.only_before = [name for name in before.gradients if name not in met]
    found.norms.sort(key=lambda change: -max(change.times, 1 / change.times))
    return found


def _compare(found: ParameterChanges, one: Gradients, two: Gradients, calls: int) -> None:
    if one.shape != two.shape:
        found.reshaped.append((two.name, one.shape, two.shape))
    if one.fate is not two.fate:
        if Fate.UNSEEN not in (one.fate, two.fate):
            found.fates.append((two.name, one.fate, two.fate))
        return
    first, second = one.norm(calls), two.norm(calls)
    if first and second and not 1 / MUCH <= second / first <= MUCH:
        found.norms.append(NormChange(two.name, first, second))


def _renamed(before: dict[str, Gradients], after: dict[str, Gradients]) -> dict[str, str]:
    """Parameters whose model is held by another variable now: same path, same shape, only one."""
    left = [one for name, one in before.items() if name not in after]
    right = [two for name, two in after.items() if name not in before]
    counts = Counter((one.path, one.shape) for one in left)
    counts_after = Counter((two.path, two.shape) for two in right)
    known = {(one.path, one.shape): one.name for one in left}
    return {
        two.name: known[key]
        for two in right
        if counts[key := (two.path, two.shape)] == counts_after[key] == 1
    }
