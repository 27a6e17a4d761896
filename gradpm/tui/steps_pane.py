"""The run over time: loss and norms, what was kept, where the verdict changed."""

from __future__ import annotations

import math
from typing import ClassVar

from textual.binding import Binding, BindingType

from gradpm.tui.cells import Row, fit_row, plain
from gradpm.tui.marks import count, number, sparkline
from gradpm.tui.rows_pane import RowsPane
from gradpm.tui.steps import Timeline

_RAISED, _FULL, _LOSS, _GRAD_CALL = 16, 64, 512, 1
_LINES = 3  # two sparklines and the columns' names


class StepsPane(RowsPane):
    """Sparklines over the whole run, then one row per backward."""

    HELP_TEXT: ClassVar[str] = (
        "Every backward of the run. The lines above draw loss and gradient norm over all of it, "
        "each bucket by its largest value, × where one is NaN or was not read. ● kept in full "
        "(its graph can be browsed), · in brief. ◀ marks where the verdict changed."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("x", "change(1)", "Next change", id="steps.next_change"),
        Binding("X", "change(-1)", "Change before", show=False, id="steps.change_before"),
        Binding("c", "screen.compare", "Compare", id="steps.compare"),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, title="Steps")
        self.timeline: Timeline | None = None
        self._sparks: dict[int, list[Row]] = {}
        self._wide = 5

    def show(self, timeline: Timeline, backward: int) -> None:
        """Show a run, the cursor on a backward."""
        self.timeline = timeline
        self._wide = max(5, len(f"{max([*timeline.number, *timeline.step], default=0) + 1:,}"))
        self._sparks = {}
        self.rows_changed(_LINES + timeline.row_of(backward) if len(timeline) else 0)

    def go_to(self, backward: int) -> None:
        """Put the cursor on a backward."""
        if self.timeline is not None and len(self.timeline):
            self.line = _LINES + self.timeline.row_of(backward)

    @property
    def chosen(self) -> int:
        """The number (from 0) of the backward under the cursor."""
        if self.timeline is None or not len(self.timeline):
            return 0
        return self.timeline.number[max(0, self.line - _LINES)]

    def validate_line(self, line: int) -> int:
        """The sparklines are not for the cursor."""
        low = _LINES if self.timeline is not None and len(self.timeline) else 0
        return max(low, min(line, self.row_count() - 1))

    def row_count(self) -> int:
        """Two sparklines, the columns' names, the backwards."""
        return (
            _LINES + len(self.timeline) if self.timeline is not None and len(self.timeline) else 1
        )

    def row(self, line: int, width: int) -> Row:
        """A sparkline or a backward."""
        timeline = self.timeline
        if timeline is None:
            return [("The steps are being read …", "dim")]
        if not len(timeline):
            return [("No backward was called in this run.", "dim")]
        if line < _LINES:
            return self._above(line, width)
        at = line - _LINES
        flags = timeline.flags[at]
        kept = ("● ", "ok") if flags & _FULL else ("· ", "dim")
        loss = timeline.loss[at]
        shown = number(loss) if flags & _LOSS else ""
        row: Row = [
            kept,
            (f"{timeline.number[at] + 1:>{self._wide},}", "strong"),
            (f"{timeline.step[at]:>{self._wide + 1},}", "dim"),
            (f"{shown:>8}", "error" if flags & _LOSS and not math.isfinite(loss) else "text"),
            (f"{number(timeline.norm[at]):>8}", "text"),
            ("  ", "text"),
        ]
        return fit_row(row + self._verdict(at), width)

    def _verdict(self, at: int) -> Row:
        assert self.timeline is not None
        timeline = self.timeline
        found: Row = []
        if timeline.flags[at] & _RAISED:
            found.append(("✖ raised ", "error"))
        if timeline.bad[at]:
            found.append((f"✖ {timeline.bad[at]:,} NaN/Inf ", "error"))
        if timeline.none[at]:
            found.append((f"✖ {timeline.none[at]:,} None ", "none"))
        if timeline.zero[at]:
            found.append((f"○ {timeline.zero[at]:,} zero ", "warning"))
        if not found:
            found.append(("✔ ok ", "ok"))
        if timeline.verdict[at]:
            found.append((f"{plain(timeline.verdict[at])} ", "accent"))
        if timeline.changed[at]:
            found.append(("◀ changed", "strong"))
        return found

    def _above(self, line: int, width: int) -> Row:
        timeline = self.timeline
        assert timeline is not None
        if line == 2:
            wide = self._wide
            heads = f"  {'call':>{wide}}{'step':>{wide + 1}}{'loss':>8}{'‖grad‖':>8}  gradients"
            return [(heads, "dim")]
        if width not in self._sparks:
            room = max(8, width - 26)
            self._sparks[width] = [
                self._spark("loss", timeline.loss, room),
                self._spark("‖grad‖", timeline.norm, room),
            ]
        return fit_row(self._sparks[width][line], width)

    def _spark(self, name: str, values: list[float], room: int) -> Row:
        finite = [v for v in values if math.isfinite(v)]
        ends = f"  {number(finite[0])} → {number(finite[-1])}" if finite else "  not read"
        return [(f"{name:<7}", "dim"), (sparkline(values, room), "accent"), (ends, "text")]

    def action_change(self, step: int) -> None:
        """The next backward whose verdict differs from the one before it."""
        timeline = self.timeline
        if timeline is None:
            return
        at = self.line - _LINES + step
        while 0 <= at < len(timeline):
            if timeline.changed[at] or timeline.verdict[at]:
                self.line = at + _LINES
                return
            at += step
        self.notify("The verdict does not change any more.", markup=False)

    def summary(self) -> str:
        """`12 backwards, 5 in full`."""
        if self.timeline is None:
            return ""
        full = sum(1 for flags in self.timeline.flags if flags & _FULL)
        total = count(len(self.timeline), "backward")
        return f"{total}, {full:,} kept in full, {len(self.timeline) - full:,} in brief"
