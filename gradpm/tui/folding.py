"""Which rows of a tree are on show: folds and a filter, without an object per row.

A tree is a preorder with a `depth` for each row. What is visible is one sorted array of row
numbers: screen line to row is an index, row to screen line a binary search, a fold splices a
slice, expand-all and filters are single passes. Nothing recurses: chains are 90,000 deep.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]


class Preorder:
    """The shape of a tree: `depth`, `size` (rows below) and `parent` (-1 at the top) per row."""

    def __init__(self, depth: Sequence[int] | npt.NDArray[Any]) -> None:
        self.depth = np.asarray(depth, np.uint8)
        rows = len(self.depth)
        self.size = np.zeros(rows, np.int32)
        self.parent = np.full(rows, -1, np.int32)
        for level in range(int(self.depth.max(initial=0)) + 1):
            at = np.flatnonzero(self.depth == level)
            ends = np.append(np.flatnonzero(self.depth <= level), rows)
            self.size[at] = ends[np.searchsorted(ends, at, "right")] - at - 1
            if level and len(at):
                above = np.flatnonzero(self.depth == level - 1)
                self.parent[at] = above[np.searchsorted(above, at) - 1]

    def __len__(self) -> int:
        return len(self.depth)

    def ancestors(self, row: int) -> list[int]:
        """The rows above, nearest first."""
        found = []
        row = int(self.parent[row])
        while row >= 0:
            found.append(row)
            row = int(self.parent[row])
        return found


class Folding:
    """What of a preorder is on show."""

    def __init__(self, tree: Preorder, open_depth: int = 1) -> None:
        self.tree = tree
        self.collapsed: Bools = (tree.depth >= open_depth) & (tree.size > 0)
        self.keep: Bools | None = None
        self.match: Bools | None = None
        self._matches: Ints | None = None
        self._before_filter: Bools | None = None
        self.visible: Ints = self._between(0, len(tree))

    def _between(self, low: int, high: int) -> Ints:
        """Visible rows in [low, high), given that what is above them is open."""
        folded = np.flatnonzero(self.collapsed[low:high])
        if len(folded):
            ends = np.minimum(folded + self.tree.size[low:high][folded] + 1, high - low)
            change = np.zeros(high - low + 1, np.int32)
            change[folded + 1] = 1
            change -= np.bincount(ends, minlength=len(change)).astype(np.int32)
            shown = np.cumsum(change[:-1], dtype=np.int32) == 0
            if self.keep is not None:
                shown &= self.keep[low:high]
        elif self.keep is not None:
            shown = self.keep[low:high]
        else:
            return np.arange(low, high, dtype=np.int32)
        return (np.flatnonzero(shown) + low).astype(np.int32)

    def line_of(self, row: int) -> int:
        """The screen line of a row, or -1 where it is hidden."""
        line = int(np.searchsorted(self.visible, row))
        return line if line < len(self.visible) and self.visible[line] == row else -1

    def nearest_line(self, row: int) -> int:
        """The screen line of a row, or of the nearest row above that is on show."""
        if not len(self.tree):
            return 0
        for at in (row, *self.tree.ancestors(row)):
            line = self.line_of(at)
            if line >= 0:
                return line
        return 0

    def toggle(self, row: int) -> bool:
        """Fold or unfold; False for a row that has nothing below."""
        below = int(self.tree.size[row])
        if not below:
            return False
        line = int(np.searchsorted(self.visible, row))
        self.collapsed[row] = not self.collapsed[row]
        rest = self.visible
        if self.collapsed[row]:
            end = int(np.searchsorted(rest, row + below, "right"))
            self.visible = np.concatenate([rest[: line + 1], rest[end:]])
        else:
            inside = self._between(row + 1, row + 1 + below)
            self.visible = np.concatenate([rest[: line + 1], inside, rest[line + 1 :]])
        return True

    def set_all(self, collapsed: bool) -> None:
        """Fold or unfold everything."""
        self.collapsed = self.tree.size > 0 if collapsed else np.zeros(len(self.tree), np.bool_)
        self.visible = self._between(0, len(self.tree))

    def open_to(self, depth: int) -> None:
        """Open rows above this depth, fold those at it and below."""
        self.collapsed = (self.tree.depth >= depth) & (self.tree.size > 0)
        self.visible = self._between(0, len(self.tree))

    def reveal(self, row: int) -> int:
        """Open whatever hides a row; its screen line."""
        if self.keep is not None and not self.keep[row]:
            self.set_filter(None)
        highest = -1
        for above in self.tree.ancestors(row):
            if self.collapsed[above]:
                self.collapsed[above] = False
                highest = above
        if highest >= 0:
            line = int(np.searchsorted(self.visible, highest))
            inside = self._between(highest + 1, highest + 1 + int(self.tree.size[highest]))
            rest = self.visible
            self.visible = np.concatenate([rest[: line + 1], inside, rest[line + 1 :]])
        return self.line_of(row)

    def set_filter(self, match: Bools | None) -> int:
        """Show only rows that match and what leads to them; how many match. None: show all."""
        self.match = match
        self._matches = None
        if match is None:
            self.keep = None
            if self._before_filter is not None:
                self.collapsed, self._before_filter = self._before_filter, None
        else:
            self.keep = self.kept_by(match)
            if self._before_filter is None:
                self._before_filter = self.collapsed
            self.collapsed = np.zeros(len(self.tree), np.bool_)
        self.visible = self._between(0, len(self.tree))
        return 0 if match is None else int(np.count_nonzero(match))

    def kept_by(self, match: Bools) -> Bools:
        """Rows that match or have a match below."""
        before = np.zeros(len(match) + 1, np.int32)
        np.cumsum(match, out=before[1:])
        ends = np.arange(1, len(match) + 1) + self.tree.size
        kept: Bools = before[ends] > before[:-1]
        return kept

    def next_match(self, row: int, step: int) -> int:
        """The next matching row in preorder, going round; `row` itself where nothing matches."""
        if self.match is None:
            return row
        if self._matches is None:
            self._matches = np.flatnonzero(self.match).astype(np.int32)
        return next_of(self._matches, row, step)


def next_of(rows: npt.NDArray[Any], row: int, step: int) -> int:
    """The next of these sorted rows after (or before) `row`, going round."""
    if not len(rows):
        return row
    side = "right" if step > 0 else "left"
    at = int(np.searchsorted(rows, row, side=side)) - (0 if step > 0 else 1)  # type: ignore[call-overload]
    return int(rows[at % len(rows)])
