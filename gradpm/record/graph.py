"""The autograd graph, read from its roots before the engine runs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from gradpm.record import anchors
from gradpm.record.hooks import register
from gradpm.record.looks import plain
from gradpm.record.quiet import is_transformed, quiet
from gradpm.record.rows import Rows
from gradpm.trace.schema import LeafKind

if TYPE_CHECKING:
    from gradpm.record.recorder import Recorder

LAST = (1 << 63) - 1  # AccumulateGrad's sequence number is the largest there is


@dataclass(slots=True)
class Graph:
    """Nodes in the order in which they were found, the roots' first."""

    nodes: list[Any] = field(default_factory=list)
    edges: list[list[tuple[int, int]]] = field(default_factory=list)  # (node, input number)
    leaves: dict[int, int] = field(default_factory=dict)  # node -> serial of its variable
    norms: dict[int, Any] = field(default_factory=dict)  # node -> (norm, absmax, nan, inf, zero)
    entered: dict[int, int] = field(default_factory=dict)  # node -> sequence number as it began


def read_graph(roots: list[Any], recorder: Recorder, stack: int, most: int) -> Graph:
    """Walk from the roots' grad_fn along next_functions; at most `most` nodes.

    Nothing is unpacked: reading `_saved_*` could run a hook of the user's.
    """
    graph = Graph()
    index: dict[Any, int] = {}
    queue: list[Any] = []

    def visit(node: Any) -> int:
        at = index.get(node)
        if at is None:
            at = index[node] = len(graph.nodes)
            graph.nodes.append(node)
            queue.append(node)
        return at

    for root in roots:
        node = _node_of(root)
        if node is not None:
            visit(node)
    done = 0
    while done < len(queue) and len(graph.nodes) < most:
        node = queue[done]
        done += 1
        graph.edges.append(
            [(visit(child), number) if child is not None else (-1, 0)
             for child, number in node.next_functions]
        )  # fmt: skip
        variable = getattr(node, "variable", None)
        if variable is not None and isinstance(variable, torch.Tensor):
            graph.leaves[done - 1] = _leaf(variable, recorder, stack)
    graph.edges += [[] for _ in range(len(graph.nodes) - len(graph.edges))]
    anchors.hold(graph.nodes, graph.edges, graph.leaves)
    return graph


def _node_of(root: Any) -> Any:
    if isinstance(root, torch.Tensor):
        if root.grad_fn is None and root.requires_grad:
            return torch.autograd.graph.get_gradient_edge(root).node
        return root.grad_fn
    return getattr(root, "node", None)


def _leaf(variable: Any, recorder: Recorder, stack: int) -> int:
    kind = LeafKind.PARAMETER if isinstance(variable, torch.nn.Parameter) else LeafKind.TENSOR
    return recorder.leaves.add(variable, stack, kind)


def watch(graph: Graph, recorder: Recorder) -> list[Any]:
    """Measure the gradient that reaches each node; handles to take the hooks off again."""

    def hook_of(at: int) -> Any:
        def look(gradients: tuple[Any, ...]) -> None:
            if recorder.on:
                recorder.guard("node hook", _entered, graph, at, gradients)

        return look

    handles = []
    for at, node in enumerate(graph.nodes):
        if at not in graph.leaves:
            handles.append(register(node.register_prehook, hook_of(at)))
    return handles


def _entered(graph: Graph, at: int, gradients: tuple[Any, ...]) -> None:
    """The engine comes to a node with these gradients."""
    graph.entered[at] = torch._C._autograd._get_sequence_nr()
    with quiet():
        found = [
            _measure(gradient)
            for gradient in gradients
            if gradient is not None and type(gradient) is torch.Tensor
        ]
    if found:
        graph.norms[at] = found


def _measure(gradient: Any) -> Any:
    """(norm, largest magnitude, how many are not zero, how many there are).

    The first three are tensors: nothing is copied while the engine runs.
    """
    if is_transformed() or not plain(gradient) or not gradient.numel():
        return None
    return (
        torch.linalg.vector_norm(gradient),
        torch.linalg.vector_norm(gradient, float("inf")),
        torch.count_nonzero(gradient),
        gradient.numel(),
    )


def write_nodes(graph: Graph, backward: int, rows: Rows, strings: Any) -> None:
    """One NODE row per node, with what was measured of its gradient."""
    saved_of: dict[type, list[int]] = {}
    for at, node in enumerate(graph.nodes):
        kind = type(node)
        saved = saved_of.get(kind)
        if saved is None:
            names = [n[len("_saved_") :] for n in dir(kind) if n.startswith("_saved_")]
            saved = saved_of[kind] = [strings.id(name) for name in names][:255]
        sequence = node._sequence_nr() if hasattr(node, "_sequence_nr") else LAST
        looked, norm, absmax, nan, inf, zero = _summary(graph.norms.get(at))
        edges = graph.edges[at]
        rows.add(
            backward,
            strings.id(node.name()),
            sequence if sequence < LAST else -1,
            -1,
            graph.leaves.get(at, 0),
            looked,
            norm,
            absmax,
            nan,
            inf,
            zero,
            min(len(edges), 65535),
            len(saved),
            edge=[child for child, _ in edges[:65535]],
            edge_input=[min(number, 255) for _, number in edges[:65535]],
            saved=saved,
        )


def _at_least(norm: float, magnitude: float) -> float:
    return norm if magnitude <= norm < math.inf else magnitude


def _summary(found: Any) -> tuple[int, float, float, int, int, float]:
    """(looked, norm, absmax, NaN?, Inf?, fraction of zeros) over a node's gradients."""
    measured = [one for one in found or () if one is not None]
    if not measured:
        return 0, 0.0, 0.0, 0, 0, 0.0
    largest = [float(magnitude) for _, magnitude, _, _ in measured]
    nonzero = sum(int(count) for _, _, count, _ in measured)
    numbers = sum(number for _, _, _, number in measured)
    nan = sum(magnitude != magnitude for magnitude in largest)
    inf = sum(magnitude == math.inf for magnitude in largest)
    norm, absmax = 0.0, 0.0
    for (norm_found, *_), magnitude in zip(measured, largest, strict=True):
        if math.isfinite(magnitude):
            # beyond 1e19 and below 1e-23 the squares overflow or vanish: it is at least this
            norm = math.hypot(norm, _at_least(float(norm_found), magnitude))
            absmax = max(absmax, magnitude)
    return 1, min(norm, 3e38), absmax, nan, inf, 1.0 - nonzero / numbers
