"""The run over time: loss and norms, what was kept, where the verdict changed."""

from __future__ import annotations

import math
from typing import ClassVar

from textual.binding import Binding, BindingType

from gradpm.trace.schema import Call
from gradpm.tui.cells import Row, fit_row, plain
from gradpm.tui.marks import count, number, sparkline
from gradpm.tui.rows_pane import RowsPane
from gradpm.tui.steps import Timeline

_LOW = 12  # in a pane with fewer lines the sparklines would take the rows' place


class StepsPane(RowsPane):
    """Sparklines over the whole run, then one row per backward."""

    HELP_TEXT: ClassVar[str] = (
        "Every backward of the run. The lines above draw loss and gradient norm over all of it, "
        "each bucket by its largest value, × where one is NaN or was not read; the marked one "
        "holds the row under the cursor. ● kept in full (its graph can be browsed), · in brief. "
        "◀ stands where the verdict changed; step counts the optimizer's steps before."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("x", "change(1)", "Next change", id="steps.next_change"),
        Binding("X", "change(-1)", "Change before", show=False, id="steps.change_before"),
        Binding("c", "screen.compare", "Compare", id="steps.compare"),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, title="Steps")
        self.timeline: Timeline | None = None
        self._wide = 4

    def show(self, timeline: Timeline, backward: int) -> None:
        """Show a run, the cursor on a backward."""
        self.timeline = timeline
        self._wide = max(4, len(f"{max([*timeline.number, *timeline.step], default=0) + 1:,}"))
        self._fit_head()
        self.rows_changed(timeline.row_of(backward) if len(timeline) else 0)

    def go_to(self, backward: int) -> None:
        """Put the cursor on a backward."""
        if self.timeline is not None and len(self.timeline):
            self.rows_changed(self.timeline.row_of(backward))

    @property
    def chosen(self) -> int:
        """The number (from 0) of the backward under the cursor."""
        if self.timeline is None or not len(self.timeline):
            return 0
        return self.timeline.number[self.line]

    def watch_line(self, old: int, new: int) -> None:
        """The sparklines mark the cursor's place too."""
        super().watch_line(old, new)
        for y in range(self.HEAD - 1):
            self.refresh_line(y)

    def on_resize(self) -> None:
        """A low pane has no room for the sparklines."""
        self._fit_head()
        super().on_resize()

    def _fit_head(self) -> None:
        known = self.timeline is not None and len(self.timeline)
        roomy = self.scrollable_content_region.height >= _LOW
        self.HEAD = (3 if roomy else 1) if known else 0

    def row_count(self) -> int:
        """The backwards, or one row that says why there is none."""
        return len(self.timeline) or 1 if self.timeline is not None else 1

    def row(self, line: int, width: int) -> Row:
        """A backward."""
        timeline = self.timeline
        if timeline is None:
            return [("The steps are being read …", "dim")]
        if not len(timeline):
            return [("No backward was called in this run.", "dim")]
        loss, read = timeline.loss[line], timeline.flags[line] & Call.LOSS
        norm = timeline.norm[line]
        row: Row = [
            ("● ", "ok") if timeline.flags[line] & Call.FULL else ("· ", "dim"),
            (f"{timeline.number[line] + 1:>{self._wide},}", "strong"),
            (f"{timeline.step[line]:>{self._wide + 1},}", "dim"),
            (f"{number(loss) if read else '':>8}", _role(loss) if read else "dim"),
            (f"{number(norm):>8}", _role(norm)),
            (" ◀ " if timeline.changed[line] else "   ", "strong"),
        ]
        return fit_row(row + self._verdict(line), width)

    def _verdict(self, at: int) -> Row:
        assert self.timeline is not None
        timeline = self.timeline
        found: Row = []
        if timeline.verdict[at]:
            found.append((f"{plain(timeline.verdict[at])} ", "accent"))
        if timeline.flags[at] & Call.RAISED:
            found.append(("✖ raised ", "error"))
        if timeline.bad[at]:
            found.append((f"✖ {timeline.bad[at]:,} NaN/Inf ", "error"))
        if timeline.none[at]:
            found.append((f"✖ {timeline.none[at]:,} None ", "none"))
        if timeline.zero[at]:
            found.append((f"○ {timeline.zero[at]:,} zero ", "warning"))
        if all(role == "accent" for _, role in found):
            found.append(("✔ ok ", "ok"))
        return [*found[:-1], (found[-1][0].rstrip(), found[-1][1])]

    def heads(self, width: int) -> list[Row]:
        """Two sparklines, and the columns' names."""
        timeline, wide = self.timeline, self._wide
        if timeline is None or not len(timeline):
            return []
        names = f"  {'call':>{wide}}{'step':>{wide + 1}}{'loss':>8}{'‖grad‖':>8}   gradients"
        columns: Row = [(names, "dim")]
        if self.HEAD == 1:
            return [columns]
        sparks = (("loss", timeline.loss), ("‖grad‖", timeline.norm))
        return [*(fit_row(self._spark(*one, width - 26), width) for one in sparks), columns]

    def _spark(self, name: str, values: list[float], room: int) -> Row:
        finite = [v for v in values if math.isfinite(v)]
        ends = list(dict.fromkeys(map(number, (finite[0], finite[-1])))) if finite else []
        drawn = sparkline(values, max(8, room))
        at = min(self.line * len(drawn) // len(values), len(drawn) - 1)
        return [
            (f"{name:<7}", "dim"),
            (drawn[:at], "accent"), (drawn[at], "mark"), (drawn[at + 1 :], "accent"),
            (f"  {' → '.join(ends) or 'not read'}", "text"),
        ]  # fmt: skip

    def action_change(self, step: int) -> None:
        """The next backward whose verdict differs from the one before it."""
        timeline = self.timeline
        if timeline is None:
            return
        at = self.line + step
        while 0 <= at < len(timeline):
            if timeline.changed[at] or timeline.verdict[at]:
                self.rows_changed(at)
                return
            at += step
        self.notify("The verdict does not change any more.", markup=False)

    def summary(self) -> str:
        """`12 backwards, 5 in full`."""
        if self.timeline is None:
            return ""
        full = sum(1 for flags in self.timeline.flags if flags & Call.FULL)
        total = count(len(self.timeline), "backward")
        return f"{total}, {full:,} kept in full, {len(self.timeline) - full:,} in brief"


def _role(value: float) -> str:
    return "text" if math.isfinite(value) else "error"
