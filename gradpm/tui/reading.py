"""What the browser reads from whole tables; runs in jobs, never in the app's thread."""

from __future__ import annotations

from dataclasses import dataclass

from gradpm.tui.evidence import Evidence
from gradpm.tui.graph import graph_sizes
from gradpm.tui.graph_process import load_beside
from gradpm.tui.graph_view import GraphView, load
from gradpm.tui.jobs import Progress
from gradpm.tui.line_ops import LineOp, line_ops, lines_with_nodes
from gradpm.tui.parameters import Grad, Grads, Parameter, read_grads, read_parameters
from gradpm.tui.steps import Timeline, read_timeline

_MOST_RANKS = 4
_LARGE = 20_000  # nodes; below, a process of its own takes longer to start than to do the work


@dataclass(frozen=True, slots=True)
class Table:
    """The parameters after one backward, with what to hold against them."""

    parameters: list[Parameter]
    grads: Grads
    base: Grads | None  # of the backward to compare with
    others: list[tuple[str, dict[str, Grad]]]  # other ranks: label, gradients by name


def read_table(
    evidence: Evidence,
    several: list[Evidence],
    backward: int,
    base: int | None,
    known: list[Parameter] | None,
) -> Table:
    """The parameter table of a backward (from 0); `known` saves reading names again."""
    with evidence.deep() as trace:
        parameters = known or read_parameters(trace)
        grads = read_grads(trace, backward)
        before = read_grads(trace, base) if base is not None else None
    others: list[tuple[str, dict[str, Grad]]] = []
    for one in [one for one in several if one is not evidence][:_MOST_RANKS]:
        with one.deep() as trace:
            theirs = read_grads(trace, backward)
            others.append((one.label, {trace.name(s): grad for s, grad in theirs.items()}))
    return Table(parameters, grads, before, others)


def read_steps(evidence: Evidence) -> Timeline:
    """The run over time."""
    with evidence.deep() as trace:
        return read_timeline(trace, evidence.diagnosis.findings)


def read_nearest_graph(
    evidence: Evidence, backward: int, mode: str, progress: Progress
) -> GraphView:
    """The graph of a backward, or of the nearest one that was kept in full."""
    with evidence.deep() as trace:
        sizes = graph_sizes(trace)
    nearest = min(sizes, key=lambda number: abs(number - backward), default=backward)
    if sizes.get(nearest, 0) < _LARGE:
        return load(evidence, nearest, mode, progress)
    findings = evidence.diagnosis.findings
    return load_beside(evidence.trace.path, findings, nearest, mode, progress)


def read_marks(several: list[Evidence]) -> dict[int, dict[str, dict[int, int]]]:
    """For each trace: file -> line -> how many tracked calls it made."""
    found = {}
    for at, evidence in enumerate(several):
        with evidence.deep() as trace:
            found[at] = lines_with_nodes(trace)
    return found


def read_ops(evidence: Evidence, path: str, line: int) -> list[LineOp]:
    """What ran on a line."""
    with evidence.deep() as trace:
        return line_ops(trace, path, line)
