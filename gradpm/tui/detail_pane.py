"""What a finding says: the title, the mechanism, the fix, and what it is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.geometry import Size

from gradpm.diagnose.finding import Finding, Location, Subject
from gradpm.tui.cells import Row, fit_row, plain, prose, wrap
from gradpm.tui.findings_pane import seen_in
from gradpm.tui.marks import SEVERITY
from gradpm.tui.rows_pane import RowsPane

_MOST_SUBJECTS = 200
_SUBJECTS_ON_SHOW = 2


class DetailPane(RowsPane):
    """A finding in words, wrapped to the pane."""

    HAS_CURSOR = False
    HELP_TEXT: ClassVar[str] = (
        "The finding in words: what happened, why, and the smallest change that cures it. "
        "Below: which parameters it explains, and every place that plays a part."
    )

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, title="Finding")
        self._paragraphs: list[tuple[Row, int]] = []
        self._rows: list[Row] = []
        self._width = 0
        self._needed = 0

    def show(self, finding: Finding, cautions: Sequence[str] = (), ranks: str = "") -> None:
        """Tell this finding; `cautions` say what is missing in the trace, `ranks` who tells it."""
        mark = SEVERITY[finding.severity]
        self.title = f"{finding.code} {finding.name}"
        self._paragraphs = [
            ([(f"{mark.symbol} ", mark.role), *prose(finding.title, "strong")], 2),
        ]
        if finding.fix:  # before the mechanism: on a small screen it must be seen unscrolled
            self._paragraphs.append(([("Fix: ", "ok"), *prose(finding.fix)], 5))
        if finding.explanation:
            self._paragraphs.append((prose(finding.explanation), 0))
        self._paragraphs += [(caution(words), 2) for words in cautions]
        when = " ".join(f"{p[0].upper()}{p[1:]}." for p in (seen_in(finding), ranks) if p)
        if when:
            self._paragraphs.append(([(when, "dim")], 0))
        self._paragraphs += [(_place(place), 2) for place in finding.locations[1:]]
        self._needed = len(self._paragraphs) + _SUBJECTS_ON_SHOW
        self._paragraphs += _subjects(finding.subjects)
        self._width = 0
        self.scroll_to(y=0, animate=False)
        self.rows_changed(0)

    def say(self, title: str, *paragraphs: Row) -> None:
        """Tell something that is no finding."""
        self.title = title
        self._paragraphs = [(paragraph, 0) for paragraph in paragraphs]
        self._needed = len(self._paragraphs)
        self._width = 0
        self.rows_changed(0)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Tall enough for the words and the first subjects; the source needs the rest."""
        return sum(
            len(wrap(row, width, indent)) for row, indent in self._paragraphs[: self._needed]
        )

    def row_count(self) -> int:
        """Rows after wrapping."""
        width = self.scrollable_content_region.width
        if width != self._width:
            self._width = width
            self._rows = [
                line for row, indent in self._paragraphs for line in wrap(row, width, indent)
            ]
        return len(self._rows)

    def row(self, line: int, width: int) -> Row:
        """One wrapped line."""
        return fit_row(self._rows[line], width)


def caution(words: str) -> Row:
    """A sentence about what a file lacks."""
    return [("▲ ", "warning"), (plain(words), "dim")]


def _place(place: Location) -> Row:
    words: Row = [(f"{place.role.capitalize()}: ", "dim"), (plain(place.short()), "accent")]
    return [*words, (f"  {plain(place.source.strip())}", "text")] if place.source else words


def _subjects(subjects: Sequence[Subject]) -> list[tuple[Row, int]]:
    rows = [(_subject(subject), 2) for subject in subjects[:_MOST_SUBJECTS]]
    left_out = len(subjects) - _MOST_SUBJECTS
    if left_out > 0:
        rows.append(([(f"… and {left_out:,} more", "dim")], 0))
    return rows


def _subject(subject: Subject) -> Row:
    shape = "" if subject.shape is None else str(list(subject.shape))
    return [
        (f"{subject.kind} ", "dim"),
        (plain(subject.name), "strong"),
        (f"  {shape} {plain(subject.dtype)}".rstrip(), "dim"),
    ]
