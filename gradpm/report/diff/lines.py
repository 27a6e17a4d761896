"""Which lines of a source stayed, in a time that no source can stretch.

`difflib` alone takes the square of the lines, and on text made for it the cube. Lines that
occur once on either side are anchors; only what lies between two anchors is left to it.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise

_MOST = 40_000  # pairs of lines between two anchors; beyond, all of them count as changed
AROUND = 2  # lines shown around a change


@dataclass(frozen=True, slots=True)
class Same:
    """`size` lines that are equal: from `before` and from `after` on, counted from 0."""

    before: int
    after: int
    size: int


def same_lines(before: Sequence[str], after: Sequence[str]) -> list[Same]:
    """The stretches that both have, in order; an empty one stands first and last if need be."""
    found = [Same(0, 0, 0)]
    at = (0, 0)
    for here in _anchors(before, after):
        for one in [*_between(before, after, at, here), Same(*here, 1)]:
            _join(found, one)
        at = (here[0] + 1, here[1] + 1)
    for one in _between(before, after, at, (len(before), len(after))):
        _join(found, one)
    _join(found, Same(len(before), len(after), 0))
    return found


def mapped(same: Sequence[Same], line: int) -> int:
    """Where a line of before (from 1) stands after; 0 when it stayed nowhere."""
    at = bisect.bisect_right(same, line - 1, key=lambda one: one.before) - 1
    if at < 0 or line - 1 >= same[at].before + same[at].size:
        return 0
    return line - same[at].before + same[at].after


def unified(before: Sequence[str], after: Sequence[str], same: Sequence[Same]) -> Iterator[str]:
    """The changes in the manner of `diff -u`, without its first two lines."""
    first = 0
    for at in range(1, len(same)):
        if at == len(same) - 1 or same[at].size > 2 * AROUND:
            yield from _hunk(before, after, same[first : at + 1])
            first = at


def _hunk(before: Sequence[str], after: Sequence[str], same: Sequence[Same]) -> Iterator[str]:
    """The changes between these stretches, of whose ends some lines are shown."""
    head, tail = min(same[0].size, AROUND), min(same[-1].size, AROUND)
    first = same[0].before + same[0].size - head, same[0].after + same[0].size - head
    last = same[-1].before + tail, same[-1].after + tail
    yield f"@@ -{_span(first[0], last[0])} +{_span(first[1], last[1])} @@"
    yield from (f" {line}" for line in before[first[0] : first[0] + head])
    for one, two in pairwise(same):
        yield from (f"-{line}" for line in before[one.before + one.size : two.before])
        yield from (f"+{line}" for line in after[one.after + one.size : two.after])
        size = tail if two is same[-1] else two.size
        yield from (f" {line}" for line in before[two.before : two.before + size])


def _span(first: int, last: int) -> str:
    """`12,3`: from which line, how many."""
    return f"{first + (last > first)},{last - first}"


def _join(found: list[Same], one: Same) -> None:
    """Add a stretch; to the one before where nothing lies between."""
    last = found[-1]
    if (last.before + last.size, last.after + last.size) == (one.before, one.after):
        found[-1] = Same(last.before, last.after, last.size + one.size)
    else:
        found.append(one)


def _anchors(before: Sequence[str], after: Sequence[str]) -> list[tuple[int, int]]:
    """Lines that occur once on either side, as many as keep their order."""
    once, counts = Counter(before), Counter(after)
    places = {line: at for at, line in enumerate(after) if counts[line] == 1}
    pairs = [
        (at, places[line]) for at, line in enumerate(before) if once[line] == 1 and line in places
    ]
    return _rising(pairs)


def _rising(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest run of pairs that rises in both places."""
    ends: list[int] = []  # by length, the pair with which the run that ends lowest ends
    levels: list[int] = []
    behind: list[int] = []
    for at, (_, place) in enumerate(pairs):
        level = bisect.bisect_left(levels, place)
        behind.append(ends[level - 1] if level else -1)
        ends[level : level + 1] = [at]
        levels[level : level + 1] = [place]
    found = []
    at = ends[-1] if ends else -1
    while at >= 0:
        found.append(pairs[at])
        at = behind[at]
    return found[::-1]


def _between(
    before: Sequence[str], after: Sequence[str], first: tuple[int, int], last: tuple[int, int]
) -> Iterator[Same]:
    """What stayed of the lines from `first` to before `last`."""
    one, two = before[first[0] : last[0]], after[first[1] : last[1]]
    head = _common(one, two)
    yield Same(*first, head)
    one, two = one[head:], two[head:]
    tail = _common(one[::-1], two[::-1])
    one, two = one[: len(one) - tail], two[: len(two) - tail]
    if len(one) * len(two) <= _MOST:
        matcher = SequenceMatcher(None, one, two, autojunk=False)
        for at, place, size in matcher.get_matching_blocks()[:-1]:
            yield Same(first[0] + head + at, first[1] + head + place, size)
    yield Same(last[0] - tail, last[1] - tail, tail)


def _common(one: Sequence[str], two: Sequence[str]) -> int:
    """How many lines are equal from the start on."""
    pairs = zip(one, two, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(two)))
