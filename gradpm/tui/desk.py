"""The main screen: the answer first, the evidence beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType

from gradpm.diagnose.finding import Finding, Location
from gradpm.tui.calm import place_of_silence, silence
from gradpm.tui.cells import plain
from gradpm.tui.desk_search import DeskSearch
from gradpm.tui.detail_pane import DetailPane, caution
from gradpm.tui.evidence import Evidence, Told, who_tells
from gradpm.tui.jobs import Jobs
from gradpm.tui.marks import SEVERITY
from gradpm.tui.ops_pane import OpsPane
from gradpm.tui.reading import read_marks, read_ops
from gradpm.tui.reasons import reason_for, reason_of
from gradpm.tui.rows_pane import RowsPane
from gradpm.tui.source_pane import SourcePane


class Desk(DeskSearch):
    """Findings, detail, path, source and browser of one run (several traces: its ranks)."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "Search", id="desk.search"),
        Binding("n", "backward(1)", "Next backward", show=False, id="desk.next_backward"),
        Binding("p", "backward(-1)", "Backward before", show=False, id="desk.backward_before"),
        Binding("right_square_bracket", "finding(1)", "Next finding", show=False, id="desk.next"),
        Binding(
            "left_square_bracket", "finding(-1)", "Finding before", show=False, id="desk.before"
        ),
        Binding("1", "focus_pane('findings')", "Go: findings", show=False, id="desk.findings"),
        Binding(
            "2", "focus_pane('parameters')", "Go: parameters", show=False, id="desk.parameters"
        ),
        Binding("3", "focus_pane('graph')", "Go: graph", show=False, id="desk.graph"),
        Binding("4", "focus_pane('steps')", "Go: steps", show=False, id="desk.steps"),
        Binding("5", "focus_pane('path')", "Go: path", show=False, id="desk.path"),
        Binding("6", "focus_pane('source')", "Go: source", show=False, id="desk.source"),
        Binding("7", "focus_pane('detail')", "Go: explanation", show=False, id="desk.detail"),
        Binding("d", "page", "Docs of this code", show=False, id="desk.page"),
        Binding("full_stop", "hit(1)", "Next hit of the search", show=False, id="desk.next_hit"),
        Binding("comma", "hit(-1)", "Hit before", show=False, id="desk.hit_before"),
        Binding(
            "semicolon", "other_place", "The finding's other line", show=False, id="desk.other"
        ),
        Binding("z", "zoom", "Zoom", show=False, id="desk.zoom"),
        Binding("r", "rank(1)", "Next rank", show=False, id="desk.rank"),
        Binding("escape", "leave", "Back", show=False, id="desk.back"),
    ]

    def __init__(self, several: list[Evidence], jobs: Jobs, cautions: Sequence[str] = ()) -> None:
        super().__init__(several, jobs, cautions)
        self._marks: dict[int, dict[str, dict[int, int]]] = {}
        self._finding: Finding | None = None

    def on_mount(self) -> None:
        """The worst finding, with no key pressed."""
        self.findings.show(self.told, self.several)
        if self.findings.current is not None:
            self.show_finding(self.findings.current)
        else:
            self._show_silence()
        self.call_after_refresh(self._first_focus)
        self._read_marks()

    # -- what is shown -----------------------------------------------------------------

    def action_page(self) -> None:
        """The documentation page of the finding's code."""
        if self._finding is not None:
            from gradpm.report import explain
            from gradpm.tui.help import HelpScreen, page_rows

            code = self._finding.code
            self.app.push_screen(HelpScreen(page_rows(explain(code)), f" {code} · Escape closes "))
        else:
            self.notify("There is no finding whose page could be shown.", markup=False)

    def show_finding(self, told: Told) -> None:
        """Every pane follows a finding."""
        finding = self._finding = told.finding
        self.at = told.traces[0]
        if finding.backward is not None:
            self.backward = max(0, finding.backward - 1)
        self.query_one("#detail", DetailPane).show(
            finding, self._cautions, who_tells(told, self.several)
        )
        self.path.show(finding)
        if finding.culprit is not None:
            role = SEVERITY[finding.severity].role
            self.show_place(finding.culprit, reason_for(finding, finding.culprit), role)
        self.browser.show(self.evidence, self.backward)
        self.browser.point_at(finding)
        self.show_header()

    def _show_silence(self) -> None:
        """No findings: say what was looked at."""
        self.query_one("#detail", DetailPane).say(
            "No findings", *silence(self.evidence), *map(caution, self._cautions)
        )
        self.path.show_nothing()
        self.show_place(*place_of_silence(self.evidence))
        self.browser.show(self.evidence, self.backward)
        self.show_header()

    def show_place(self, place: Location | None, reason: str = "", role: str = "accent") -> None:
        """The source pane at a place."""
        self.source.show(self.evidence, place, reason, role, self._others(place))
        if place is not None:
            self.source.show_marks(self._marks.get(self.at, {}).get(place.file, {}))

    def _others(self, place: Location | None) -> list[tuple[Location, str]]:
        """The finding's places but this one, each with its reason."""
        finding = self._finding
        if finding is None:
            return []
        return [
            (one, reason_for(finding, one))
            for one in finding.locations
            if place is None or (one.file, one.line) != (place.file, place.line)
        ]

    def action_other_place(self) -> None:
        """The next of the finding's lines, round and round."""
        finding = self._finding
        if finding is None or len(finding.locations) < 2:
            self.notify("There is no other line that plays a part.", markup=False)
            return
        here = self.source.place
        lines = [(one.file, one.line) for one in finding.locations]
        at = lines.index((here.file, here.line)) if here and (here.file, here.line) in lines else -1
        place = finding.locations[(at + 1) % len(lines)]
        role = SEVERITY[finding.severity].role if place is finding.culprit else "note"
        self.show_place(place, reason_for(finding, place), role)

    def _read_marks(self) -> None:
        """Which lines made graph nodes, of every trace."""

        def done(marks: dict[int, dict[str, dict[int, int]]]) -> None:
            self._marks = marks
            if self.source.place is not None:
                self.source.show_marks(marks.get(self.at, {}).get(self.source.place.file, {}))

        self.jobs.start("marks", lambda _: read_marks(self.several), done, self._complain)

    @on(RowsPane.Highlighted)
    def _moved(self, event: RowsPane.Highlighted) -> None:
        """The other panes follow the pane in focus."""
        if not event.pane.has_focus:
            return
        name = event.pane.id
        if name == "findings" and self.findings.current is not None:
            if self.findings.current.finding is not self._finding:
                self.show_finding(self.findings.current)
        elif name == "path" and self.path.steps:
            step = self.path.steps[self.path.line]
            role = "error" if step.kind == "cut" else "accent"
            self.show_place(step.location, reason_of(step), role)
        elif name == "graph":
            if self.browser.graph.view is not None:  # while it is read, the source stays
                self.show_place(*self.browser.graph.location)
            self.browser.show_crumbs()
        elif name == "parameters" and self.browser.parameters.chosen is not None:
            self.show_place(self.browser.parameters.location, "made here", "accent")
        elif name == "steps" and self.browser.steps.chosen != self.backward:
            self._go_to_backward(self.browser.steps.chosen)

    @on(RowsPane.Chosen)
    def _opened(self, event: RowsPane.Chosen) -> None:
        name = event.pane.id
        if name == "findings":
            self.action_focus_pane("detail" if self.size.width < 60 else "path")
        elif name == "path":
            self.action_focus_pane("source")
        elif name == "parameters":
            self._way_of_parameter()
        elif name == "graph":
            self.action_path_to_loss()
        elif name == "steps":
            self.action_focus_pane("graph")

    # -- moving about ------------------------------------------------------------------

    def action_finding(self, step: int) -> None:
        """The next finding, or the one before."""
        self.findings.line += step
        if self.findings.current is not None:
            self.show_finding(self.findings.current)

    def go_to_finding(self, finding: Finding) -> None:
        """Show this finding."""
        for line, told in enumerate(self.told):
            if told.finding is finding:
                self.findings.line = line
                self.show_finding(told)

    def action_backward(self, step: int) -> None:
        """The next backward, or the one before."""
        last = self.evidence.backward_count - 1
        self._go_to_backward(max(0, min(self.backward + step, last)))

    def _go_to_backward(self, backward: int) -> None:
        self.backward = backward
        self.browser.show(self.evidence, backward)
        self.show_header()

    def action_rank(self, step: int) -> None:
        """The same, in the next rank's trace."""
        if len(self.several) > 1:
            self.at = (self.at + step) % len(self.several)
            self.browser.show(self.evidence, self.backward)
            self.show_header()

    # -- from pane to pane -------------------------------------------------------------

    def action_path_to_loss(self) -> None:
        """The way from the loss to the node under the cursor."""
        steps, label = self.browser.graph.stations()
        if steps:
            self.path.show_steps(steps, f"Path from the loss to {label}")
            self.action_focus_pane("path")

    def _way_of_parameter(self) -> None:
        """Where a parameter's gradient stops, as its finding tells; else its way in the graph."""
        chosen = self.browser.parameters.chosen
        if chosen is None:
            return
        for told in self.told:
            subjects = told.finding.subjects
            if any(s.serial == chosen.leaf.serial or s.name == chosen.name for s in subjects):
                self.go_to_finding(told.finding)
                self.action_focus_pane("path")
                return
        self._show_node(self.action_path_to_loss)

    def action_show_node(self) -> None:
        """The parameter under the cursor, in the graph."""
        self._show_node(lambda: None)

    def _show_node(self, then: Callable[[], None]) -> None:
        serial = self.browser.parameters.serial
        if serial:
            self.action_focus_pane("graph")
            self.browser.go_to_leaf(serial, then)

    def action_compare(self) -> None:
        """Compare two backwards."""
        self.notify(self.browser.compare(), markup=False, timeout=3)

    def action_grouping(self) -> None:
        """Group the graph otherwise."""
        self.notify(self.browser.next_grouping(), markup=False, timeout=2)

    def action_filter(self) -> None:
        """Type a pattern for the pane in focus."""
        self.browser.open_filter()

    # -- ops on a line -----------------------------------------------------------------

    @on(SourcePane.OpsWanted)
    def _show_ops(self, event: SourcePane.OpsWanted) -> None:
        pane, evidence = self.query_one("#ops", OpsPane), self.evidence
        pane.wait(plain(Location("", event.path, event.line).short()))
        pane.add_class("-shown")
        pane.focus()

        self.jobs.start(
            "ops", lambda _: read_ops(evidence, event.path, event.line), pane.show, self._complain
        )

    def action_close_ops(self) -> None:
        """Back to the source."""
        self.query_one("#ops").remove_class("-shown")
        self.source.focus()
