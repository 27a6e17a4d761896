"""Real runs in the app: a backward that raised, a loop that turns NaN, a library's own nodes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Driven

from gradpm.diagnose import diagnose
from gradpm.tui.app import GradpmApp
from gradpm.tui.config import Config
from gradpm.tui.evidence import Evidence
from gradpm.tui.graph_process import load_beside
from gradpm.tui.graph_view import load

pytest.importorskip("torch")

RAISED = """
import torch
from torch import nn

class Enc(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 16), nn.Linear(16, 16)

    def forward(self, x):
        h = torch.tanh(self.a(x))
        g = torch.sigmoid(self.b(h))
{gap}
        h += 0.1 * g
        return h * g

enc, head = Enc(), nn.Linear(16, 3)
loss = nn.functional.cross_entropy(head(enc(torch.randn(5, 8))), torch.zeros(5).long())
loss.backward()
"""
LOOP = """
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

class Cell(nn.Module):
    def __init__(self):
        super().__init__()
        self.i, self.h = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x, h):
        return torch.tanh(self.i(x) + self.h(h)) * 0.9

pattern = nn.TransformerEncoderLayer(8, 2, 8)
blocks = nn.TransformerEncoder(pattern, 2)
del pattern
cell, scale = Cell(), nn.Parameter(torch.zeros(4))
parameters = [*cell.parameters(), *blocks.parameters(), scale]
optimizer = torch.optim.SGD(parameters, lr=0.1)
for step in range(9):
    h, states = torch.zeros(2, 4), []
    for t in range(6):
        h = cell(torch.randn(2, 4), h)
        states.append(h)
    mean = torch.stack(states).mean(0)
    far = kl_divergence(Normal(mean, scale.exp()), Normal(0.0, 1.0)).sum()
    loss = far + blocks(torch.randn(3, 2, 8)).pow(2).mean()
    if step == 8:
        none = loss * 0
        loss = none / 0
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""


def record(folder: Path, name: str, script: str) -> Path:
    (folder / f"{name}.py").write_text(script)
    command = [sys.executable, "-m", "gradpm", "run", "--quiet", f"{name}.py"]
    subprocess.run(
        command, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=120,
        capture_output=True, check=False,
    )  # fmt: skip
    return folder / f"{name}.gpm"


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    far = "\n".join("        # far apart" for _ in range(40))
    scripts = {"raised": RAISED.format(gap=""), "far": RAISED.format(gap=far), "loop": LOOP}
    return {name: record(folder, name, script) for name, script in scripts.items()}


class Opened:
    """The app on a recorded trace."""

    def __init__(self, path: Path, size: tuple[int, int] = (120, 36)) -> None:
        self.app = GradpmApp([path], config=Config())
        self._test = self.app.run_test(size=size)

    async def __aenter__(self) -> Driven:
        driven = Driven(self.app, await self._test.__aenter__())
        await driven.rest()
        return driven

    async def __aexit__(self, *error: object) -> None:
        await self._test.__aexit__(*error)  # type: ignore[arg-type]


async def test_a_raised_backward_shows_where_it_stopped(traces: dict[str, Path]) -> None:
    async with Opened(traces["raised"]) as driven:
        await driven.press("3")
        rows = driven.screen.splitlines()
        stopped = next(at for at, line in enumerate(rows) if "✖ raised in it" in line)
        assert "Addmm" in rows[stopped], "the node, not the loss"
        assert "✂ add_  changes what backward" in rows[stopped + 1]
        assert sum("· not reached" in line for line in rows) >= 3
        assert "✖ raised in Addmm after" in driven.screen, "and how far it came, below"
        graph = driven.app.desk.browser.graph  # type: ignore[union-attr]
        assert graph.current in graph.view.troubles, "x goes there"  # type: ignore[union-attr]


@pytest.mark.parametrize("size", [(120, 36), (80, 24), (50, 20)])
async def test_both_lines_stand_in_the_source(
    size: tuple[int, int], traces: dict[str, Path]
) -> None:
    async with Opened(traces["raised"], size) as driven:
        lines = driven.screen.splitlines()
        assert any("▶" in line and "h += 0.1" in line for line in lines)
        assert any("▷" in line and "self.b(h)" in line and "← saved" in line for line in lines)
    async with Opened(traces["far"], size) as driven:
        lines = driven.screen.splitlines()
        assert any("▷ 12" in line and "self.b(h)" in line for line in lines), "pinned above"
        await driven.press("semicolon")
        assert driven.app.desk.source.here.line == 12  # type: ignore[union-attr]


async def test_the_way_of_a_bad_number_says_so(traces: dict[str, Path]) -> None:
    async with Opened(traces["loop"]) as driven:
        path = driven.app.desk.path  # type: ignore[union-attr]
        rows = ["".join(text for text, _ in path.row(n, 90)) for n in range(path.row_count())]
        turn = next(at for at, row in enumerate(rows) if "the first bad number" in row)
        assert rows[turn].startswith("✖ div")
        assert all(row.startswith(("┊ ✖", "│ ┄")) for row in rows[turn + 1 :])
        assert "the gradient stops here" not in "".join(rows)
        await driven.press("3")
        assert driven.app.desk.source.here.short() == "loop.py:30"  # type: ignore[union-attr]


async def test_steps_keep_their_lines_and_tell_of_nan(traces: dict[str, Path]) -> None:
    async with Opened(traces["loop"]) as driven:
        await driven.press("4")
        rows = [line for line in driven.screen.splitlines() if line.startswith(" ●    9")]
        assert rows[0].split()[:5] == ["●", "9", "8", "NaN", "NaN"], "not a norm of 0"
        assert "◀ GP301" in rows[0]
        await driven.press("end")
        assert "‖grad‖ " in driven.screen, "the sparklines do not scroll away"


async def test_a_patterns_parameters_are_not_listed(traces: dict[str, Path]) -> None:
    async with Opened(traces["loop"]) as driven:
        names = [p.name for p in driven.app.desk.browser.parameters.parameters]  # type: ignore[union-attr]
        assert "blocks.layers.1.linear1.weight" in names
        assert not [name for name in names if "unnamed" in name]


async def test_calls_of_a_loop_and_of_a_library_are_told_apart(traces: dict[str, Path]) -> None:
    async with Opened(traces["loop"], (120, 60)) as driven:
        await driven.press("3", "E")
        assert "kl_divergence()" in driven.screen, "what it made is folded below the call"
        await driven.press("f", *"cell", "enter")
        labels = [line for line in driven.screen.splitlines() if "call 5 of 6" in line]
        assert labels
        assert driven.screen.count("6 × cell") == 0, "a branch is one call, not the loop"


def test_a_process_of_its_own_outlines_alike(traces: dict[str, Path]) -> None:
    evidence = Evidence.open(traces["raised"], diagnose)
    told: list[float] = []
    findings = evidence.diagnosis.findings
    beside = load_beside(traces["raised"], findings, 0, "module", told.append)
    here = load(evidence, 0, "module", lambda share: None)
    assert told
    for name in ("kind", "ref", "row_of"):
        assert (getattr(beside.outline, name) == getattr(here.outline, name)).all()
    assert [finding for _, finding in beside.lost] == [finding for _, finding in here.lost]
    assert all(finding is findings[0] for _, finding in beside.lost), "the app's own objects"
    beside.folding.toggle(int(beside.folding.tree.size.argmax()))
    evidence.close()


def test_nobody_waits_for_a_process_that_is_not_wanted(traces: dict[str, Path]) -> None:
    class Unwanted(Exception):
        pass

    def stop(share: float) -> None:
        raise Unwanted

    with pytest.raises(Unwanted):
        load_beside(traces["raised"], (), 0, "module", stop)
