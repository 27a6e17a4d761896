"""What was found, worst first. Choosing one moves every other pane."""

from __future__ import annotations

from itertools import takewhile
from typing import ClassVar

from rich.cells import cell_len

from gradpm.diagnose.finding import Finding
from gradpm.tui.calm import is_clean
from gradpm.tui.cells import Row, fit_end, fit_row, pad, plain, prose, spread, width_of
from gradpm.tui.evidence import Evidence, Told
from gradpm.tui.marks import SEVERITY, count
from gradpm.tui.rows_pane import RowsPane

_ABOUT = 12


class FindingsPane(RowsPane):
    """One row per finding: severity, code, title, and in which ranks."""

    HELP_TEXT: ClassVar[str] = (
        "One row per cause, the worst first: ✖ is certainly wrong, ▲ very likely, ● worth "
        "knowing. Moving here moves every other pane along."
    )

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, title="Findings")
        self.told: list[Told] = []
        self.several: list[Evidence] = []
        self._longest_name = 0

    def show(self, told: list[Told], several: list[Evidence]) -> None:
        """Fill the list."""
        self.told, self.several = told, several
        self._longest_name = max((len(t.finding.name) for t in told), default=0)
        self.title = f"Findings  {len(told):,}" if told else "Findings"
        self.rows_changed(0)

    @property
    def current(self) -> Told | None:
        """The finding under the cursor."""
        return self.told[self.line] if self.told else None

    def row_count(self) -> int:
        """One row per finding, or one that says there is none."""
        return len(self.told) or 1

    def row(self, line: int, width: int) -> Row:
        """`✖ GP101 6 parameters cut off`."""
        if not self.told:
            clean = all(map(is_clean, self.several))
            sign = ("✔ ", "ok") if clean else ("· ", "dim")
            return fit_row([sign, ("no findings", "text")], width)
        told = self.told[line]
        mark, finding = SEVERITY[told.finding.severity], told.finding
        lead: Row = [(f"{mark.symbol} ", mark.role), (f"{finding.code} ", "dim")]
        ranks = self._ranks(told)
        title = prose(finding.title)
        if width_of(lead + title) + (width_of(ranks) + 1 if ranks else 0) <= width:
            return spread(lead + title, ranks, width)
        return self._in_brief(finding, lead, ranks, width)

    def _in_brief(self, finding: Finding, lead: Row, ranks: Row, width: int) -> Row:
        """A title that would be cut loses its end, where the line stands: tell that instead."""
        place = finding.culprit
        where = plain(place.short()) if place else ""
        room = width - width_of(lead) - (width_of(ranks) + 1 if ranks else 0)
        where = fit_end(where, max(12, room - self._longest_name - 1))
        left: Row = [*lead, (pad(plain(finding.name), self._longest_name), "strong")]
        about = subjects_in_brief(finding)
        if room - self._longest_name - cell_len(where) - 3 >= min(cell_len(about), _ABOUT):
            left.append((f" {about}", "text"))
        right: Row = [(where, "accent"), *([(" ", "text"), *ranks] if ranks else [])]
        return spread(left, right, width, least=12)

    def _ranks(self, told: Told) -> Row:
        if len(self.several) < 2:
            return []
        if len(told.traces) == 1:
            return [(self.several[told.traces[0]].label, "dim")]
        return [(count(len(told.traces), "trace"), "dim")]


def subjects_in_brief(finding: Finding) -> str:
    """`model.encoder` for what all the names have in common, else the first and how many more."""
    names = [plain(subject.name) for subject in finding.subjects]
    if not names:
        return ""
    if len(names) == 1:
        return names[0]
    ends = min(names).split("."), max(names).split(".")  # between them lie all the others
    same = takewhile(lambda pair: pair[0] == pair[1], zip(*ends, strict=False))
    common = ".".join(part for part, _ in same)
    return common or f"{names[0]} and {len(names) - 1:,} more"


def seen_in(finding: Finding) -> str:
    """`backward 3, and in 12 of them`: when a finding was first seen and how often."""
    if finding.backward is None:
        return ""
    first = f"first seen in backward {finding.backward}"
    return f"{first}, in {finding.backwards:,} in all" if finding.backwards > 1 else first
