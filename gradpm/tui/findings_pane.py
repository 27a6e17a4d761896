"""What was found, worst first. Choosing one moves every other pane."""

from __future__ import annotations

from typing import ClassVar

from gradpm.diagnose.finding import Finding
from gradpm.tui.cells import Row, fit_row, prose, spread
from gradpm.tui.evidence import Evidence, Told
from gradpm.tui.marks import SEVERITY, count
from gradpm.tui.rows_pane import RowsPane


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

    def show(self, told: list[Told], several: list[Evidence]) -> None:
        """Fill the list."""
        self.told, self.several = told, several
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
            return fit_row([("✔ ", "ok"), ("no findings", "text")], width)
        told = self.told[line]
        mark = SEVERITY[told.finding.severity]
        left = [(f"{mark.symbol} ", mark.role), (f"{told.finding.code} ", "dim")]
        return spread(left + prose(told.finding.title), self._ranks(told), width, least=40)

    def _ranks(self, told: Told) -> Row:
        if len(self.several) < 2:
            return []
        if len(told.traces) == 1:
            return [(self.several[told.traces[0]].label, "dim")]
        return [(count(len(told.traces), "trace"), "dim")]


def seen_in(finding: Finding) -> str:
    """`backward 3, and in 12 of them`: when a finding was first seen and how often."""
    if finding.backward is None:
        return ""
    first = f"first seen in backward {finding.backward}"
    return f"{first}, in {finding.backwards:,} in all" if finding.backwards > 1 else first
