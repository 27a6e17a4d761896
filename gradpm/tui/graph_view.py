"""Builds, off the app's thread, what the graph pane shows."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from gradpm.diagnose.finding import Finding, Step
from gradpm.trace.model import Trace
from gradpm.trace.schema import GradState, Table
from gradpm.tui.evidence import Evidence
from gradpm.tui.folding import Folding, Ints
from gradpm.tui.graph import Array, Graph, column, read_graph
from gradpm.tui.grouping import by_line, by_module, no_groups
from gradpm.tui.outline import Outline, Progress, RowKind, build
from gradpm.tui.outline_text import OutlineText
from gradpm.tui.stations import from_loss

MODES = ("module", "line", "node")
_OPEN_AT_MOST = 4000
_BAD = {GradState.ZERO: 1, GradState.INF: 2, GradState.NAN: 3}


@dataclass(slots=True)
class GraphView:
    """An outline with what its rows are painted from."""

    outline: Outline
    folding: Folding
    text: OutlineText
    lost: list[tuple[Step, Finding]]
    mode: str
    spots: dict[int, int]  # number of a finding without a cut -> the node that it is about
    troubles: Ints
    low: float  # the norms' range, for the bars
    high: float


def load(evidence: Evidence, backward: int, mode: str, progress: Progress) -> GraphView:
    """Read and outline the graph of a backward (from 0).

    Python's threads take turns of 5 ms; shorter ones keep the app's keys quick meanwhile.
    """
    patience = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    collects = gc.isenabled()
    gc.disable()  # millions of short-lived ints and tuples, no cycles: collecting only costs
    try:
        with evidence.deep() as trace:
            return _load(trace, evidence.diagnosis.findings, backward, mode, progress)
    finally:
        sys.setswitchinterval(patience)
        if collects:
            gc.enable()


def _load(
    trace: Trace, findings: Iterable[Finding], backward: int, mode: str, progress: Progress
) -> GraphView:
    graph = read_graph(trace, backward)
    _measure_leaves(graph, trace)
    progress(0.15)
    groups = (
        by_module(graph, trace) if mode == "module"
        else by_line(graph, trace) if mode == "line"
        else no_groups(graph)
    )  # fmt: skip
    cuts, lost, spots = cuts_of(graph, trace, findings)
    outline = build(graph, groups, cuts, progress)
    groups.blocks = set()  # of no more use, and long
    text = OutlineText(outline, trace, [step.label for step, _ in lost])
    folding = Folding(outline.tree)
    small = len(outline.tree) <= 60
    folding.open_to(255 if small else 2)
    if len(folding.visible) > _OPEN_AT_MOST:
        folding.open_to(1)
    norms = graph.norm[graph.looked & (graph.norm > 0) & np.isfinite(graph.norm)]
    low, high = np.percentile(norms, (1, 99)) if len(norms) else (1.0, 1.0)
    return GraphView(
        outline, folding, text, lost, mode, spots, outline.troubles(), float(low), float(high)
    )


def _measure_leaves(graph: Graph, trace: Trace) -> None:
    """What reached a parameter's node is what its `.grad` holds."""
    mine = np.flatnonzero(column(trace, Table.GRAD, "backward") == graph.backward)
    leaves = np.flatnonzero(graph.leaf != 0)
    if not len(mine) or not len(leaves):
        return
    serials = column(trace, Table.GRAD, "leaf")[mine]
    order = np.argsort(serials, kind="stable")
    at = np.minimum(np.searchsorted(serials[order], graph.leaf[leaves]), len(order) - 1)
    rows = mine[order[at]]
    found = column(trace, Table.GRAD, "leaf")[rows] == graph.leaf[leaves]
    state = column(trace, Table.GRAD, "state")[rows]
    graph.looked = graph.looked.copy()
    graph.looked[leaves] = found & (state != GradState.NONE) & (state != GradState.UNREAD)
    graph.norm = graph.norm.copy()
    graph.norm[leaves] = np.where(found, column(trace, Table.GRAD, "norm")[rows], 0)
    for one, code in _BAD.items():
        graph.bad[leaves[found & (state == one)]] = code


def cuts_of(
    graph: Graph, trace: Trace, findings: Iterable[Finding]
) -> tuple[dict[int, list[tuple[RowKind, int]]], list[tuple[Step, Finding]], dict[int, int]]:
    """Rows for where the graph was cut: below the node that would have had the gradient go on.

    Nothing is cut where a number is bad: for such findings the node that they are about.
    """
    cuts: dict[int, list[tuple[RowKind, int]]] = {}
    lost: list[tuple[Step, Finding]] = []
    spots: dict[int, int] = {}
    if not len(graph):
        return cuts, lost, spots
    nodes_of = _nodes_of_ops(graph, trace)
    for number, finding in enumerate(findings):
        if not finding.code.startswith(("GP1", "GP2")):
            at = next((nodes_of(s.op, -1) for s in finding.path if s.kind == "cut"), -1)
            if at >= 0:
                spots[number] = at
            continue
        raised = finding.code.startswith("GP2")
        if raised and finding.backward not in (None, graph.backward + 1):
            continue
        above, behind = max(graph.failed, 0) if raised else 0, False
        for step in from_loss(finding.path):
            if step.kind == "cut" and not behind:
                behind = True
                cuts.setdefault(above, []).append((RowKind.CUT, len(lost)))
                lost.append((step, finding))
            elif behind:
                cuts[above].append((RowKind.LOST, len(lost)))
                lost.append((step, finding))
            else:
                above = above if raised and graph.failed >= 0 else nodes_of(step.op, above)
    return cuts, lost, spots


class _nodes_of_ops:
    """The node of an op that is nearest the loss, by op id."""

    def __init__(self, graph: Graph, trace: Trace) -> None:
        self._ids: Array = column(trace, Table.OP, "id")
        self._order = np.argsort(graph.op, kind="stable")
        self._ops = graph.op[self._order]

    def __call__(self, op: int, otherwise: int) -> int:
        if op < 0 or not len(self._ids):
            return otherwise
        rows = np.flatnonzero(self._ids == op)
        if not len(rows):
            return otherwise
        at = int(np.searchsorted(self._ops, rows[0]))
        known = at < len(self._ops) and self._ops[at] == rows[0]
        return int(self._order[at]) if known else otherwise
