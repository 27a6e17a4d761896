"""A deep graph is freed without running out of stack, and not kept longer than by its user."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from gradpm.record import anchors  # noqa: E402

DEEP = """
import torch
w = torch.ones(2, requires_grad=True)
for _ in range(2):
    x = w
    for _ in range(5_000):
        x = x * w + w
    loss = x.sum()
    loss.backward()
print("freed")
"""


def test_a_deep_graph_is_freed_on_a_small_stack(tmp_path: Path) -> None:
    script = tmp_path / "deep.py"
    script.write_text(DEEP)
    run = f"ulimit -s 1024; exec '{sys.executable}' -m gradpm run --quiet deep.py"
    told = subprocess.run(
        ["bash", "-c", run], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert (told.returncode, told.stdout) == (0, "freed\n"), told.stderr


def test_what_nobody_else_holds_is_let_go() -> None:
    x = torch.ones(1, requires_grad=True)
    for _ in range(3 * anchors.LEAST_NODES):
        x = x * 2
    nodes, edges = [x.grad_fn], []
    for node in nodes:
        child = node.next_functions[0][0] if node.next_functions else None
        edges.append([(len(nodes), 0)] if child is not None else [])
        nodes += [child] if child is not None else []
    anchors.hold(nodes, edges, {len(nodes) - 1: 1})
    del nodes, node, child
    held = len(anchors._held)
    assert 5 <= held <= 7
    anchors.let_go()
    assert len(anchors._held) == held, "the graph still lives"
    del x
    anchors.let_go()
    assert not anchors._held
