"""A pane over a foldable tree: what the graph and the parameters have in common."""

from __future__ import annotations

from typing import ClassVar

from textual.actions import SkipAction
from textual.binding import Binding, BindingType

from gradpm.tui.cells import Cell
from gradpm.tui.folding import Bools, Folding
from gradpm.tui.rows_pane import RowsPane


class TreePane(RowsPane):
    """Folds, unfolds, filters. Rows are numbered in preorder; the cursor counts shown lines."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "fold_here", "Fold", id="tree.fold"),
        Binding("right,l", "unfold", "Unfold", show=False, id="tree.unfold"),
        Binding("left,h", "fold", "Fold, or go up", show=False, id="tree.up"),
        Binding("E", "all(False)", "Expand all", show=False, id="tree.expand_all"),
        Binding("C", "all(True)", "Collapse all", show=False, id="tree.collapse_all"),
        Binding("f", "screen.filter", "Filter", id="tree.filter"),
        Binding("full_stop", "match(1)", "Next match", show=False, id="tree.next_match"),
        Binding("comma", "match(-1)", "Match before", show=False, id="tree.match_before"),
    ]

    def __init__(self, *, id: str | None = None, title: str = "") -> None:
        super().__init__(id=id, title=title)
        self.folding: Folding | None = None

    @property
    def current(self) -> int:
        """The row under the cursor, -1 where there is none."""
        if self.folding is None or not len(self.folding.visible):
            return -1
        return int(self.folding.visible[min(self.line, len(self.folding.visible) - 1)])

    def row_count(self) -> int:
        """How many rows are on show."""
        return len(self.folding.visible) if self.folding is not None else 0

    def sign(self, row: int) -> Cell:
        """The fold's triangle."""
        assert self.folding is not None
        if not self.folding.tree.size[row]:
            return ("  ", "text")
        return ("▸ " if self.folding.collapsed[row] else "▾ ", "dim")

    def shown_anew(self, row: int) -> None:
        """Paint after a fold or a filter; the cursor stays on `row`, or on what hides it."""
        assert self.folding is not None
        self.rows_changed(self.folding.nearest_line(row) if row >= 0 else 0)

    def go_to(self, row: int) -> None:
        """Open whatever hides a row and put the cursor on it."""
        if self.folding is not None and row >= 0:
            self.folding.reveal(row)
            self.shown_anew(row)

    def set_filter(self, match: Bools | None) -> int:
        """Show what matches and what leads there; how many rows match."""
        if self.folding is None:
            return 0
        row = self.current
        found = self.folding.set_filter(match)
        if match is not None and found and not (row >= 0 and match[row]):
            row = self.folding.next_match(max(row, 0) - 1, 1)
        self.shown_anew(row)
        return found

    def clicked(self, line: int, x: int) -> None:
        """A click on the triangle folds."""
        assert self.folding is not None
        row = int(self.folding.visible[line])
        column = 2 * int(self.folding.tree.depth[row])
        if column <= x < column + 2 and self.folding.tree.size[row]:
            self.line = line
            self.action_fold_here()
        else:
            super().clicked(line, x)

    def action_fold_here(self) -> None:
        """Fold or unfold."""
        row = self.current
        if self.folding is not None and row >= 0 and self.folding.toggle(row):
            self.shown_anew(row)

    def action_unfold(self) -> None:
        """Unfold; where nothing is folded, go to the next row."""
        if self.folding is not None and self.current >= 0:
            if self.folding.collapsed[self.current]:
                self.action_fold_here()
            else:
                self.line += 1

    def action_fold(self) -> None:
        """Fold; where nothing is open, go to the row above in the tree."""
        row = self.current
        if self.folding is None or row < 0:
            return
        if self.folding.tree.size[row] and not self.folding.collapsed[row]:
            self.action_fold_here()
        else:
            parent = int(self.folding.tree.parent[row])
            if parent >= 0:
                self.go_to(parent)

    def action_all(self, collapsed: bool) -> None:
        """Fold or unfold everything."""
        if self.folding is not None:
            row = self.current
            self.folding.set_all(collapsed)
            self.shown_anew(row)

    def action_match(self, step: int) -> None:
        """The next match of the filter."""
        if self.folding is None or self.folding.match is None or self.current < 0:
            raise SkipAction  # no filter: the keys are the search's
        self.go_to(self.folding.next_match(self.current, step))
