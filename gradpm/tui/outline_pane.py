"""The autograd graph from the loss, one row per node, at a million nodes too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType

from gradpm.diagnose.finding import Finding, Location, Step
from gradpm.tui.calm import no_graph
from gradpm.tui.cells import Row
from gradpm.tui.evidence import Evidence
from gradpm.tui.folding import next_of
from gradpm.tui.graph_view import GraphView
from gradpm.tui.outline import RowKind
from gradpm.tui.outline_rows import OutlineRows
from gradpm.tui.tree_pane import TreePane

_MOST_STATIONS = 400


class OutlinePane(TreePane):
    """Groups, nodes, references (↗), cuts (✂)."""

    HELP_TEXT: ClassVar[str] = (
        "The autograd graph from the loss down. The main way keeps its indent, side branches "
        "nest. ↗ is a node that stands elsewhere already: Enter goes there, Backspace returns. "
        "✂ is where the graph was cut, ○ below it never got a gradient, ◆ is a parameter. "
        "The bar is the norm of the gradient that reached the node, on a logarithmic scale."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("x", "trouble(1)", "Next bad", id="graph.next_bad"),
        Binding("X", "trouble(-1)", "Bad gradient before", show=False, id="graph.bad_before"),
        Binding("u", "user_line(1)", "Next line of yours", show=False, id="graph.next_line"),
        Binding("U", "user_line(-1)", "Line of yours before", show=False, id="graph.line_before"),
        Binding("w", "screen.path_to_loss", "Way to the loss", id="graph.path"),
        Binding("m", "screen.grouping", "Grouping", id="graph.grouping"),
        Binding("backspace", "back", "Back", show=False, id="graph.back"),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, title="Graph")
        self.view: GraphView | None = None
        self.waiting = "The graph is being read …"
        self.rows: OutlineRows | None = None
        self._history: list[int] = []
        self._findings: Sequence[Finding] = ()

    def show(self, evidence: Evidence, view: GraphView) -> None:
        """Show a graph."""
        self.view, self.folding, self.rows = view, view.folding, OutlineRows(evidence, view)
        self._history, self._findings = [], evidence.diagnosis.findings
        if not len(view.outline.graph):
            self.view = self.folding = self.rows = None
            self.waiting = no_graph(evidence, view.outline.graph.backward)
        self.rows_changed(0)

    def wait(self, words: str) -> None:
        """Say what is being done; the pane stays usable for moving away."""
        self.view = self.folding = self.rows = None
        self.waiting = words
        self.rows_changed(0)

    # -- rows ---------------------------------------------------------------------------

    def row_count(self) -> int:
        """How many rows are on show, or one that says why none is."""
        return super().row_count() if self.folding is not None else 1

    def row(self, line: int, width: int) -> Row:
        """One row, by its kind."""
        if self.folding is None or self.rows is None:
            return [(self.waiting, "dim")]
        row = int(self.folding.visible[line])
        matches = self.folding.match is not None and bool(self.folding.match[row])
        return self.rows.row(row, width, self.sign(row), matches)

    # -- what the cursor stands on --------------------------------------------------------

    @property
    def node(self) -> int:
        """The node under the cursor, or the first one in the group; -1 for none."""
        return self.rows.node(self.current) if self.rows is not None and self.current >= 0 else -1

    @property
    def location(self) -> tuple[Location | None, str, str]:
        """(place, reason, role) of the row under the cursor."""
        if self.rows is None or self.current < 0:
            return None, "", "accent"
        return self.rows.place(self.current)

    def crumbs(self) -> list[str]:
        """The groups around the cursor, outermost first, then the node."""
        view, rows, here = self.view, self.rows, self.current
        if view is None or rows is None or here < 0:
            return []
        outline = view.outline
        around = [r for r in outline.tree.ancestors(here)[::-1] if outline.kind[r] == RowKind.GROUP]
        if outline.kind[here] == RowKind.GROUP:
            around.append(here)
        found = ["loss", *(rows.label_of(r) for r in around)]
        if self.node >= 0 and outline.kind[here] != RowKind.GROUP:
            depth = len(outline.path(self.node))
            found.append(f"{rows.place_of(self.node)[1]}, node {depth:,} from the loss")
        return found

    def stations(self) -> tuple[tuple[Step, ...], str]:
        """The way from the loss to the node under the cursor, and what that is called."""
        view, rows, node = self.view, self.rows, self.node
        if view is None or rows is None or node < 0:
            return (), ""
        path = view.outline.path(node)
        left_out = len(path) - _MOST_STATIONS
        steps = [rows.station(one) for one in path[: _MOST_STATIONS // 2]]
        if left_out > 0:
            steps.append(Step("gap", f"{left_out:,} more nodes"))
        rest = path[max(_MOST_STATIONS // 2, len(path) - _MOST_STATIONS // 2) :]
        return tuple(steps + [rows.station(one) for one in rest]), rows.place_of(node)[1]

    # -- keys -----------------------------------------------------------------------------

    def action_choose(self) -> None:
        """Follow a reference, fold a group, else show the way to the loss."""
        view, row = self.view, self.current
        if view is None or row < 0:
            return
        if view.outline.kind[row] == RowKind.REFERENCE:
            self._history.append(row)
            self.go_to_node(int(view.outline.ref[row]))
        elif view.outline.kind[row] == RowKind.GROUP:
            self.action_fold_here()
        else:
            super().action_choose()

    def action_back(self) -> None:
        """Return to the reference that was followed."""
        if self._history:
            self.go_to(self._history.pop())

    def go_to_node(self, node: int) -> None:
        """Show a node where it has its home."""
        if self.view is not None and 0 <= node < len(self.view.outline.row_of):
            self.go_to(int(self.view.outline.row_of[node]))

    def go_to_leaf(self, serial: int) -> bool:
        """Show a parameter's node; False where this graph does not reach it."""
        if self.view is None:
            return False
        found = (self.view.outline.graph.leaf == serial).nonzero()[0]
        if len(found):
            self.go_to_node(int(found[0]))
        return bool(len(found))

    def go_to_cut(self, finding: Finding) -> bool:
        """Show where a finding says that the graph was cut; False where it is not in this one."""
        if self.view is None:
            return False
        outline, lost = self.view.outline, self.view.lost
        for row in (outline.kind == RowKind.CUT).nonzero()[0].tolist():
            if lost[int(outline.ref[row])][1] is finding:
                self.go_to(row)
                return True
        for number, node in self.view.spots.items():
            if self._findings[number] is finding:
                self.go_to_node(node)
                return True
        return False

    def action_trouble(self, step: int) -> None:
        """The next row where the gradient becomes None, zero, Inf or NaN."""
        if self.view is None or not len(self.view.troubles):
            self.notify("No node turns a gradient into None, zero, Inf or NaN.", markup=False)
            return
        self.go_to(next_of(self.view.troubles, self.current, step))

    def action_user_line(self, step: int) -> None:
        """The next node, in order, that another line of the user's made."""
        if self.view is None:
            return
        outline = self.view.outline
        frame, here = outline.graph.frame, self.node
        old = int(frame[here]) if here >= 0 else 0
        row = self.current + step
        while 0 <= row < len(outline.kind):
            if outline.kind[row] == RowKind.NODE and frame[outline.ref[row]] not in (0, old):
                self.go_to(row)
                return
            row += step
