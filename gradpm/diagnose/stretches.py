"""Which rows belong together: told from a column in one look, since it may have millions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, compress, count, islice, pairwise, repeat
from operator import ne, sub


def stretches(numbers: Sequence[int]) -> dict[int, tuple[int, int]]:
    """For each number the first place where it stands, and the place after its last."""
    found: dict[int, tuple[int, int]] = {}
    changes = compress(count(1), map(ne, numbers, islice(numbers, 1, None)))
    for first, end in pairwise([0, *changes, len(numbers)] if numbers else ()):
        found[numbers[first]] = found.get(numbers[first], (first, end))[0], end
    return found


def owners(starts: Sequence[int]) -> Iterator[int]:
    """For every element of a ragged column the row that owns it."""
    counts = map(sub, islice(starts, 1, None), starts)
    return chain.from_iterable(map(repeat, range(len(starts) - 1), counts))
