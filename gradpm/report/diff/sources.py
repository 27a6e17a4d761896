"""The sources of the two runs, file by file: what changed, and where a line went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from gradpm.diagnose import Location
from gradpm.report.diff.lines import Same, mapped, same_lines, unified
from gradpm.report.diff.side import Side, base, slashed


@dataclass(frozen=True)
class FilePair:
    """One file as it was in either run."""

    before: str  # its path
    after: str
    lines_before: list[str]
    lines_after: list[str]

    @cached_property
    def same(self) -> list[Same]:
        """The lines that stayed."""
        return same_lines(self.lines_before, self.lines_after)

    @property
    def is_changed(self) -> bool:
        """Whether the text differs at all."""
        return self.lines_before != self.lines_after

    @cached_property
    def hunks(self) -> list[str]:
        """What changed, as `diff -u` tells it."""
        return list(unified(self.lines_before, self.lines_after, self.same))


class Sources:
    """The files that both traces hold, and where a place of the one is in the other."""

    def __init__(self, before: Side, after: Side) -> None:
        names = paired(before, after)
        self.pairs = [
            FilePair(path, other, before.sources[path], after.sources[other])
            for path, other in names.items()
        ]
        self.unpaired_before = [path for path in before.sources if path not in names]
        self.unpaired_after = [path for path in after.sources if path not in names.values()]
        self._by_path = {pair.before: pair for pair in self.pairs}

    def is_same(self, before: Location, after: Location) -> bool:
        """Whether two places are the same line of the same file, wherever it stands now."""
        pair = self._by_path.get(before.file)
        if pair is None:  # a source that was not embedded
            same_file = base(before.file) == base(after.file)
            return same_file and (before.line, before.source) == (after.line, after.source)
        if pair.after != after.file:
            return False
        line = mapped(pair.same, before.line)
        return line == after.line if line else bool(before.source) and before.source == after.source


def paired(before: Side, after: Side) -> dict[str, str]:
    """Which file of after each file of before is: by path, as the script, by its place near it."""
    found = {path: path for path in before.sources if path in after.sources}
    _add(found, _by_script(before), _by_script(after))
    _add(found, _by_base(before), _by_base(after))
    return found


def _add(found: dict[str, str], before: Mapping[str, str], after: Mapping[str, str]) -> None:
    taken = set(found.values())
    for key, path in before.items():
        other = after.get(key)
        if other is not None and path not in found and other not in taken:
            found[path] = other


def _by_script(side: Side) -> dict[str, str]:
    """The files by their way from the script's folder; the script itself by no name."""
    paths = {slashed(path): path for path in side.sources}
    script = next((p for p in paths if f"/{p}".endswith(f"/{side.script.lstrip('/')}")), "")
    folder = script.rpartition("/")[0]
    found = {}
    for path, real in paths.items():
        if path == script:
            found[""] = real
        elif folder and path.startswith(f"{folder}/"):
            found[path[len(folder) + 1 :]] = real
    return found


def _by_base(side: Side) -> dict[str, str]:
    """The files by their last name alone, where only one has it."""
    counts = Counter(map(base, side.sources))
    return {base(path): path for path in side.sources if counts[base(path)] == 1}
