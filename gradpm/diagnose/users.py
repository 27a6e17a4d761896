"""Into which ops each tensor goes: for leaves at once, for all others when one is asked for."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from functools import cached_property
from itertools import compress
from typing import Any

from gradpm.diagnose.stretches import owners

MANY = 200_000  # inputs from which it pays to load numpy: a tenth of a second
SPREAD = 4  # serials that may be missing between two that are there, on average


class Users:
    """The rows into which each serial goes, one for each time.

    Rules ask for parameters above all: these are found by one look at the column. What millions
    of other tensors go into is kept as two columns, not as so many lists.
    """

    def __init__(self, starts: Any, ins: Any, leaves: Container[int]) -> None:
        """`ins[starts[row]:starts[row + 1]]` are what goes into a row."""
        self._starts, self._ins, self._leaves = starts, ins, leaves

    def get(self, serial: int, none: Sequence[int] = ()) -> Sequence[int]:
        """The rows into which a tensor goes, rising; `none` where there are none."""
        if serial in self._leaves:
            return self._of_leaves.get(serial, none)
        if self._columns is None:
            return self._of_all.get(serial, none)
        first, begins, rows = self._columns
        at = serial - first
        if not 0 <= at < len(begins) - 1:
            return none
        found: Sequence[int] = rows[begins[at] : begins[at + 1]]
        return found or none

    @cached_property
    def _of_leaves(self) -> dict[int, list[int]]:
        wanted = bytes(map(self._leaves.__contains__, self._ins))
        return _listed(compress(owners(self._starts), wanted), compress(self._ins, wanted))

    @cached_property
    def _of_all(self) -> dict[int, list[int]]:
        return _listed(owners(self._starts), self._ins)

    @cached_property
    def _columns(self) -> tuple[int, array[int], array[int]] | None:
        """(first serial, where each serial's rows begin, rows); None for few or odd serials."""
        count = len(self._ins)
        if count < MANY:
            return None
        import numpy as np

        ins = np.frombuffer(self._ins, np.int64)
        first, last = int(ins.min()), int(ins.max())
        if last - first >= SPREAD * count:
            return None  # by hand, or hostile: a place for each would fill the memory
        starts = np.frombuffer(self._starts, np.uint64).astype(np.int64)
        lengths = starts[1:] - starts[:-1]
        rows = np.repeat(np.arange(len(lengths), dtype=np.uint32), lengths)
        begins = np.zeros(last - first + 2, np.int64)
        np.cumsum(np.bincount(ins - first), out=begins[1:])
        packed, sorted_rows = array("q"), array("I")
        packed.frombytes(begins.tobytes())
        sorted_rows.frombytes(rows[np.argsort(ins, kind="stable")].tobytes())
        return first, packed, sorted_rows


def _listed(rows: Iterator[int], serials: Any) -> dict[int, list[int]]:
    found: defaultdict[int, list[int]] = defaultdict(list)
    for row, serial in zip(rows, serials, strict=True):
        found[serial].append(row)
    found.default_factory = None
    return found
