"""Parameters, graph and steps of one trace: three panes in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input

from gradpm.diagnose.finding import Finding
from gradpm.tui.bars import CrumbLine
from gradpm.tui.cells import plain
from gradpm.tui.crumbs import crumbs_of
from gradpm.tui.evidence import Evidence
from gradpm.tui.filtering import filter_rows
from gradpm.tui.graph_view import MODES, GraphView
from gradpm.tui.jobs import Jobs
from gradpm.tui.marks import count
from gradpm.tui.outline_pane import OutlinePane
from gradpm.tui.parameters import Parameter
from gradpm.tui.parameters_pane import ParametersPane
from gradpm.tui.reading import Table, read_nearest_graph, read_steps, read_table
from gradpm.tui.rows_pane import RowsPane
from gradpm.tui.steps import Timeline
from gradpm.tui.steps_pane import StepsPane
from gradpm.tui.tree_pane import TreePane

TABS = {"parameters": "Parameters", "graph": "Graph", "steps": "Steps"}
_KEPT_GRAPHS = 3


class Browser(Vertical):
    """Shows one of three panes; reads what each needs when it is first looked at."""

    class Loaded(Message):
        """Something that was being read is there."""

    def __init__(self, jobs: Jobs, several: list[Evidence], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.jobs = jobs
        self.several = several
        self.evidence = several[0]
        self.backward = 0
        self.base: int | None = None
        self.mode = "module"
        self.tab = "parameters"
        self._graphs: dict[tuple[int, int, str], GraphView] = {}
        self._shown_graph: tuple[int, int, str] | None = None
        self._parameters: dict[int, list[Parameter]] = {}
        self._timelines: dict[int, Timeline] = {}
        self._want_leaf: tuple[int, Callable[[], None]] | None = None
        self._finding: Finding | None = None

    def compose(self) -> ComposeResult:
        """The panes, where one stands in them, and the filter."""
        yield ParametersPane(id="parameters")
        yield OutlinePane(id="graph")
        yield StepsPane(id="steps")
        yield CrumbLine(id="crumbs")
        field = Input(placeholder="filter: a regular expression", id="filter", compact=True)
        field.cursor_blink = False  # a blinking cursor writes to the terminal for ever
        yield field

    @property
    def parameters(self) -> ParametersPane:
        """The parameter table."""
        return self.query_one("#parameters", ParametersPane)

    @property
    def graph(self) -> OutlinePane:
        """The graph outline."""
        return self.query_one("#graph", OutlinePane)

    @property
    def steps(self) -> StepsPane:
        """The timeline."""
        return self.query_one("#steps", StepsPane)

    @property
    def pane(self) -> RowsPane:
        """The pane on show."""
        return self.query_one(f"#{self.tab}", RowsPane)

    def on_mount(self) -> None:
        """Begin with the parameters."""
        self.show_tab(self.tab)

    # -- what is shown -----------------------------------------------------------------

    def show_tab(self, name: str) -> None:
        """Bring a pane to the front."""
        self.tab = name
        parts: list[Any] = [" "]
        for tab, title in TABS.items():
            style = "bold underline" if tab == name else ""
            action = f"@click=screen.focus_pane('{tab}')"
            parts.append(Content.from_markup(f"[{style} {action}]{title}[/]"))
            parts.append(" · ")
        title_line = Content.assemble(*parts[:-1], " ")
        for tab in TABS:
            pane = self.query_one(f"#{tab}", RowsPane)
            pane.border_title = title_line
            pane.set_class(tab == name, "-shown")
        self._need(name)
        self.show_crumbs()

    def show(self, evidence: Evidence, backward: int) -> None:
        """Follow to a trace and one of its backwards."""
        same = evidence is self.evidence and backward == self.backward
        if same and self.graph.view is not None:
            return
        self.evidence, self.backward = evidence, backward
        if id(evidence) in self._parameters:
            self._need("parameters")
        if id(evidence) in self._timelines:
            self.steps.go_to(backward)
        self._need(self.tab)

    def _need(self, tab: str) -> None:
        if not self.is_mounted:
            return
        if tab == "parameters":
            self._load_grads()
        elif tab == "graph":
            self._load_graph()
        elif id(self.evidence) in self._timelines:
            self.steps.show(self._timelines[id(self.evidence)], self.backward)
        else:
            self._load_timeline()

    def point_at(self, finding: Finding) -> None:
        """The cursors go where a finding is, in the panes that nobody is in."""
        self._finding = finding
        self._point_parameters()
        if not self.graph.has_focus:
            self.graph.go_to_cut(finding)

    def _point_parameters(self) -> None:
        subjects = self._finding.subjects if self._finding is not None else ()
        if not self.parameters.has_focus:
            any(self.parameters.go_to_subject(subject) for subject in subjects)

    # -- reading -------------------------------------------------------------------------

    def _failed(self, sentence: str) -> None:
        self.query_one("#crumbs", CrumbLine).show([(plain(sentence), "error")])

    def _load_grads(self) -> None:
        evidence, backward, base = self.evidence, self.backward, self.base
        known = self._parameters.get(id(evidence))

        def done(table: Table) -> None:
            self._parameters[id(evidence)] = table.parameters
            first = self.parameters.shape is None or evidence is not self.parameters.evidence
            self.parameters.show(evidence, table, f"bw {base + 1}" if base is not None else "")
            if first:
                self._point_parameters()
            self.show_crumbs()
            self.post_message(self.Loaded())

        self.jobs.start(
            "parameters",
            lambda _: read_table(evidence, self.several, backward, base, known),
            done,
            self._failed,
        )

    def _load_timeline(self) -> None:
        evidence = self.evidence

        def done(timeline: Timeline) -> None:
            self._timelines[id(evidence)] = timeline
            if evidence is self.evidence:
                self.steps.show(timeline, self.backward)
                self.show_crumbs()

        self.jobs.start("steps", lambda _: read_steps(evidence), done, self._failed)

    def _load_graph(self) -> None:
        evidence, backward, mode = self.evidence, self.backward, self.mode
        key = (id(evidence), backward, mode)
        if key == self._shown_graph:  # on show, or being read
            return
        self._shown_graph = key
        if key in self._graphs:
            self.jobs.cancel("graph")
            self._show_graph(self._graphs[key])
            return
        self.graph.wait("The graph is being read …")

        def done(view: GraphView) -> None:
            while len(self._graphs) >= _KEPT_GRAPHS:
                del self._graphs[next(iter(self._graphs))]
            self._graphs[key] = view
            self._show_graph(view)

        self.jobs.start(
            "graph",
            lambda progress: read_nearest_graph(evidence, backward, mode, progress),
            done,
            lambda sentence: self.graph.wait(plain(sentence)),
            lambda share: self.graph.wait(f"The graph is being read … {share:.0%}"),
        )

    def _show_graph(self, view: GraphView) -> None:
        self.graph.show(self.evidence, view)
        if self._want_leaf is not None:
            self.go_to_leaf(*self._want_leaf)
        elif self._finding is not None:
            self.graph.go_to_cut(self._finding)
        self.show_crumbs()
        self.post_message(self.Loaded())

    # -- what is asked of it ---------------------------------------------------------------

    def compare(self) -> str:
        """Compare from here on with the backward on show, or stop comparing."""
        self.base = None if self.base is not None else self.backward
        self._need("parameters")
        if self.base is None:
            return "No longer comparing."
        return f"Comparing with backward {self.base + 1}: go along with n and p."

    def next_grouping(self) -> str:
        """Group by module, by line, or not at all."""
        self.mode = MODES[(MODES.index(self.mode) + 1) % len(MODES)]
        self._load_graph()
        return f"Grouped by {self.mode}" if self.mode != "node" else "Not grouped"

    def go_to_leaf(self, serial: int, then: Callable[[], None] = lambda: None) -> None:
        """Show a parameter's node, once the graph is there, and go on from it."""
        if self.graph.view is None:
            self._want_leaf = serial, then
            return
        self._want_leaf = None
        if self.graph.go_to_leaf(serial):
            then()
        else:
            words = "This backward's graph does not reach that parameter."
            self.notify(words, markup=False)

    # -- the filter --------------------------------------------------------------------------

    def open_filter(self) -> None:
        """Let a pattern be typed; the rows follow while typing."""
        if self.tab in ("parameters", "graph"):
            field = self.query_one("#filter", Input)
            field.add_class("-shown")
            field.focus()

    def close_filter(self) -> bool:
        """Take the filter away; False where there was none."""
        field = self.query_one("#filter", Input)
        shown = field.has_class("-shown")
        field.remove_class("-shown")
        had = bool(field.value)
        field.value = ""
        if shown or had:
            self.pane.focus()
        return shown or had

    @on(Input.Submitted, "#filter")
    def _filter_done(self) -> None:
        self.pane.focus()
        self.pane.announce()  # the source follows to the match that the cursor is on

    @on(Input.Changed, "#filter")
    def _filter_typed(self, event: Input.Changed) -> None:
        event.stop()
        pattern, pane = event.value, self.pane
        if isinstance(pane, TreePane):
            filter_rows(
                pane, pattern, self.jobs, lambda n: self._found(pane, n, pattern), self._failed
            )

    def _found(self, pane: TreePane, found: int, pattern: str) -> None:
        if not pattern:
            self.show_crumbs()
            return
        words = f"{count(found, 'match').replace('matchs', 'matches')} · . next  , before"
        self.query_one("#crumbs", CrumbLine).show([(words, "accent" if found else "warning")])

    @on(ParametersPane.Arranged)
    def _arranged(self) -> None:
        self.show_crumbs()

    # -- where one stands ----------------------------------------------------------------------

    def show_crumbs(self) -> None:
        """The line below the pane."""
        row, lead = crumbs_of(self.pane, self.backward, self.base)
        self.query_one("#crumbs", CrumbLine).show(row, lead)
