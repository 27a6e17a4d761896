"""The outline and its folds equal a naive walk, whatever the graph and the keys."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from make_trace import make_net

from gradpm.trace.model import Trace
from gradpm.tui.folding import Folding, Preorder
from gradpm.tui.graph import Graph, _csr, _topological, read_graph
from gradpm.tui.grouping import Groups, Kind, by_line, by_module, no_groups
from gradpm.tui.outline import Outline, RowKind, build


def random_graph(nodes: int, seed: int, extra: int) -> Graph:
    """Connected, acyclic, numbered at random, some nodes shared."""
    chance = np.random.default_rng(seed)
    pairs = [(v - 1 - int(chance.integers(min(v, 50))), v) for v in range(1, nodes)]
    for a in chance.integers(0, nodes - 1, extra * nodes).tolist():
        pairs.append((a, a + 1 + int(chance.integers(min(50, nodes - 1 - a)))))
    names = chance.permutation(nodes).astype(np.int32)
    source = names[[a for a, _ in pairs]]
    target = names[[b for _, b in pairs]]
    order = _topological(np.full(nodes, -1), source, target)
    place = np.empty(nodes, np.int32)
    place[order] = np.arange(nodes)
    start, flat = _csr(place[source], place[target], nodes)
    zeros, leaves = np.zeros(nodes, np.int64), np.where(chance.random(nodes) < 0.05, -1, 0)
    return Graph(
        0, order, zeros, leaves, zeros, zeros, zeros - 1, zeros + 1, zeros > 0, zeros * 1.0,
        zeros.astype(np.uint8), start, flat,
    )  # fmt: skip


def random_groups(nodes: int, seed: int) -> Groups:
    chance = random.Random(seed)
    groups = Groups()
    for _ in range(20):
        groups.add(chance.randrange(len(groups.parent)), chance.choice((Kind.CALL, Kind.REPEAT)), 1)
    groups.of_node = np.array([chance.randrange(21) for _ in range(nodes)], np.int32)
    return groups


def shown(tree: Preorder, folding: Folding) -> list[int]:
    """The naive walk."""
    found, row = [], 0
    while row < len(tree):
        if folding.keep is None or folding.keep[row]:
            found.append(row)
        row += 1 + (int(tree.size[row]) if folding.collapsed[row] else 0)
    return found


def check_tree(outline: Outline) -> None:
    """Every node once, every other edge a reference, sizes and parents right."""
    nodes = outline.ref[outline.kind == RowKind.NODE]
    assert sorted(nodes.tolist()) == list(range(len(outline.graph)))
    edges = len(outline.graph.target)
    roots = int((outline.home < 0).sum())
    references = int((outline.kind == RowKind.REFERENCE).sum())
    assert references == edges - (len(outline.graph) - roots)
    open_rows: list[int] = []
    for row in range(len(outline.tree)):
        while open_rows and outline.tree.depth[open_rows[-1]] >= outline.tree.depth[row]:
            open_rows.pop()
        assert outline.tree.parent[row] == (open_rows[-1] if open_rows else -1)
        open_rows.append(row)
    for row in range(len(outline.tree)):
        below = range(row + 1, len(outline.tree))
        deeper = 0
        for other in below:
            if outline.tree.depth[other] <= outline.tree.depth[row]:
                break
            deeper += 1
        assert outline.tree.size[row] == deeper


def check_folding(outline: Outline, seed: int, operations: int) -> None:
    chance = random.Random(seed)
    tree = outline.tree
    folding = Folding(tree, chance.randint(0, 3))
    for _ in range(operations):
        what = chance.random()
        if what < 0.5 and len(folding.visible):
            folding.toggle(int(chance.choice(folding.visible.tolist())))
        elif what < 0.75:
            row = chance.randrange(len(tree))
            line = folding.reveal(row)
            assert folding.visible[line] == row
        elif what < 0.85:
            folding.set_all(chance.random() < 0.5)
        elif folding.match is None:
            match = np.array([chance.random() < 0.1 for _ in range(len(tree))])
            folding.set_filter(match)
            kept = set(folding.visible.tolist())
            assert set(np.flatnonzero(match).tolist()) <= kept
        else:
            folding.set_filter(None)
        assert folding.visible.tolist() == shown(tree, folding)


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs_fold_as_a_naive_walk_does(seed: int) -> None:
    graph = random_graph(200, seed, seed % 3)
    groups = random_groups(200, seed) if seed % 2 else no_groups(graph)
    outline = build(graph, groups)
    check_tree(outline)
    check_folding(outline, seed, 60)


@pytest.mark.parametrize("shape", ["chain", "binary", "star"])
def test_depth_stays_small_whatever_the_shape(shape: str) -> None:
    nodes = 50_000
    child = np.arange(1, nodes, dtype=np.int32)
    parent = {"chain": child - 1, "binary": (child - 1) // 2, "star": child * 0}[shape]
    start, target = _csr(parent, child, nodes)
    zeros = np.zeros(nodes, np.int64)
    graph = Graph(
        0, zeros, zeros, zeros, zeros, zeros, zeros, zeros, zeros > 0, zeros * 1.0,
        zeros.astype(np.uint8), start, target,
    )  # fmt: skip
    outline = build(graph, no_groups(graph))
    assert outline.tree.depth.max() <= 16
    assert len(outline.tree) == nodes


def test_a_cycle_in_a_damaged_file_is_no_endless_loop() -> None:
    source, target = np.array([0, 1, 2]), np.array([1, 2, 1])
    order = _topological(np.full(3, -1), source, target)
    assert sorted(order.tolist()) == [0, 1, 2]


def test_repeated_blocks_become_one_row(tmp_path: Path) -> None:
    with_trace = Trace(make_net(6, 1).write(tmp_path / "t.gpm"))
    graph = read_graph(with_trace, 0)
    outline = build(graph, by_module(graph, with_trace))
    check_tree(outline)
    labels = [outline.groups.label[g] for g in outline.ref[outline.kind == RowKind.GROUP]]
    assert "6 × Block" in labels
    assert not any("Linear" in label for label in labels), "q, k and v are no repetition"


def test_an_unrolled_loop_is_told_by_turns(tmp_path: Path) -> None:
    with_trace = Trace(make_net(3, 1, turns=5).write(tmp_path / "t.gpm"))
    graph = read_graph(with_trace, 0)
    outline = build(graph, by_module(graph, with_trace))
    check_tree(outline)
    labels = [outline.groups.label[g] for g in outline.ref[outline.kind == RowKind.GROUP]]
    assert "5 turns of 3 × Block" in labels
    assert "turn 1 of 5" in labels


def test_nodes_know_the_line_that_made_them(tmp_path: Path) -> None:
    with_trace = Trace(make_net(2, 1).write(tmp_path / "t.gpm"))
    graph = read_graph(with_trace, 0)
    lines = set()
    for node in np.flatnonzero(graph.seq >= 0).tolist():
        frame = with_trace.frame(int(graph.frame[node]))
        assert frame is not None
        assert frame.path.startswith("/home/me/proj")
        lines.add((with_trace.string(int(graph.name[node])), frame.line))
    assert ("GeluBackward0", 30) in lines
    assert ("SoftmaxBackward0", 37) in lines
    check_tree(build(graph, by_line(graph, with_trace)))
