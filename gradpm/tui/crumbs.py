"""The line below a pane of the browser: where one stands."""

from __future__ import annotations

from gradpm.tui.cells import Row
from gradpm.tui.graph_view import GraphView
from gradpm.tui.outline_pane import OutlinePane
from gradpm.tui.outline_rows import OutlineRows
from gradpm.tui.parameters_pane import ParametersPane
from gradpm.tui.rows_pane import RowsPane
from gradpm.tui.steps_pane import StepsPane


def crumbs_of(pane: RowsPane, backward: int, base: int | None) -> tuple[Row, Row]:
    """(words, what stands before them and is never cut) for the pane on show."""
    if isinstance(pane, OutlinePane):
        return _of_graph(pane, backward)
    if isinstance(pane, StepsPane):
        return [(pane.summary(), "dim")], []
    row: Row = []
    if isinstance(pane, ParametersPane):
        row.append((pane.summary(), "dim"))
        if base is not None:
            row.append((f" · compared with backward {base + 1}", "accent"))
    return row, []


def _of_graph(pane: OutlinePane, backward: int) -> tuple[Row, Row]:
    row: Row = []
    for at, crumb in enumerate(pane.crumbs()):
        row += [(" › ", "faint")] if at else []
        row.append((crumb, "dim"))
    if pane.view is not None and pane.rows is not None and pane.view.outline.graph.failed >= 0:
        return row, _of_raised(pane.view, pane.rows)
    if row and pane.view is not None and not _is_measured(pane.view):
        return row, [("too large: norms not measured · ", "warning")]
    shown = pane.view.outline.graph.backward if pane.view is not None else backward
    if shown == backward or not row:
        return row, []
    return row, [(f"backward {shown + 1}, the nearest kept in full · ", "warning")]


def _is_measured(view: GraphView) -> bool:
    """Whether the engine was watched node by node."""
    graph = view.outline.graph
    return bool(graph.looked[graph.leaf == 0].any())


def _of_raised(view: GraphView, rows: OutlineRows) -> Row:
    """How far the engine came before it raised."""
    graph = view.outline.graph
    inner = graph.leaf == 0
    reached, total = int((graph.looked & inner).sum()), int(inner.sum())
    name = rows.place_of(graph.failed)[1].rpartition(" ")[2]
    return [(f"✖ raised in {name} after {reached:,} of {total:,} nodes · ", "error")]
