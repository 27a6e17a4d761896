"""The way of the gradient, from the loss to where it stops and on to the parameter."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len

from gradpm.diagnose.finding import Finding, Location, Step
from gradpm.tui.cells import Row, fit, fit_end, fit_row, pad, plain, wrap
from gradpm.tui.marks import Mark
from gradpm.tui.rows_pane import RowsPane
from gradpm.tui.stations import from_loss

_CUT = Mark("✂", "cut", "error")
_SPOILT = Mark("✖", "bad from here", "error")
_BAD = Mark("✖", "bad gradient", "error")
_ZERO = Mark("○", "zero gradient", "warning")
_GAP = Mark("┄", "not recorded", "dim")
_LIVE = Mark("●", "live", "ok")
_NAME = 17
_DETAIL = len("the gradient becomes zero here")
_DEAD = Mark("○", "no gradient", "none")
_BEHIND = {  # by code: how the turn looks, and what lies behind it
    "GP301": (_SPOILT, _BAD), "GP302": (_SPOILT, _BAD), "GP303": (_SPOILT, _ZERO),
    "GP304": (_SPOILT, _LIVE), "GP305": (_SPOILT, _LIVE),
}  # fmt: skip
_GUIDES = {_LIVE: "│ ", _GAP: "│ ", _DEAD: "┊ ", _BAD: "┊ ", _ZERO: "┊ "}


class PathPane(RowsPane):
    """One row per station; what lies behind a cut is drawn hollow."""

    HELP_TEXT: ClassVar[str] = (
        "The gradient's way from the loss (top) towards the parameter. ● it arrives here, "
        "✂ it stops here, ○ behind it never came or is zero, ✖ it is NaN or Inf. "
        "Moving shows each station's line in the source."
    )

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, title="Path")
        self.steps: tuple[Step, ...] = ()
        self._marks: list[Mark] = []
        self._label_width = self._place_width = self._detail_width = 0
        self._empty = "This finding has no path."

    def show_nothing(self) -> None:
        """Where there is no finding."""
        self._empty = "Choose a node of the graph and press w: its way to the loss stands here."
        self.show_steps((), "Path")

    def show(self, finding: Finding) -> None:
        """Draw the path of a finding, the cursor on its cut."""
        turn, behind = _BEHIND.get(finding.code, (_CUT, _DEAD))
        steps = from_loss(finding.path)
        cut = any(step.kind == "cut" for step in steps)
        if not cut and finding.code.startswith(("GP1", "GP201")):
            self.show_steps(steps, "Path", live=_DEAD)  # nothing of it was ever reached
        else:
            self.show_steps(steps, "Path", turn, behind)

    def show_steps(
        self,
        steps: tuple[Step, ...],
        title: str,
        turn: Mark = _CUT,
        behind: Mark = _DEAD,
        live: Mark = _LIVE,
    ) -> None:
        """Draw these stations, the loss first; `turn` marks where the gradient is lost."""
        self.title = title
        self.steps = steps
        self._marks = []
        lost = False
        for step in self.steps:
            cut = step.kind == "cut"
            usual = behind if lost else _LIVE if step.kind == "loss" else live
            self._marks.append(turn if cut else _GAP if step.kind == "gap" else usual)
            lost = lost or cut
        labels = (cell_len(plain(step.label)) for step in steps)
        places = (cell_len(plain(step.location.short())) for step in steps if step.location)
        details = (cell_len(plain(step.detail)) for step in steps)
        self._label_width = max(labels, default=0) + 4
        self._place_width = max(places, default=0)
        self._detail_width = min(max(details, default=0), _DETAIL)
        self.rows_changed(next((i for i, s in enumerate(steps) if s.kind == "cut"), 0))

    @property
    def location(self) -> Location | None:
        """Where the station under the cursor stands in the source."""
        return self.steps[self.line].location if self.steps else None

    def row_count(self) -> int:
        """One row per station, or one that says there is no path."""
        return len(self.steps) or len(self._said())

    def _said(self) -> list[Row]:
        return wrap([(self._empty, "dim")], self.scrollable_content_region.width or 40)

    def row(self, line: int, width: int) -> Row:
        """`✂ h    .detach()    model.py:31   gradient stops`."""
        if not self.steps:
            return next(iter(self._said()[line:]), [])
        step, mark = self.steps[line], self._marks[line]
        guide = _GUIDES.get(mark, "") if line else ""
        whole = plain(step.location.short()) if step.location else ""
        room = width - 2 - self._detail_width - 3  # what label and place share
        wide = min(self._place_width, max(12, room - min(self._label_width, _NAME)))
        name_room = max(12, min(self._label_width, room - wide)) - len(guide)
        label = plain(step.label)
        name = fit_end(label, name_room) if "." in label[1:] else fit(label, name_room)
        loud = step.kind == "cut"
        row: Row = [
            (guide, "faint"),
            (f"{mark.symbol} ", mark.role),
            (pad(name, name_room), "strong" if loud else "text"),
            (f" {pad(fit_end(whole, wide), wide)}  ", "accent"),
            (plain(step.detail), mark.role if loud else "dim"),
        ]
        return fit_row(row, width)
