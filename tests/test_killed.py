"""A run that is killed leaves a trace that is readable up to its last flush."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from launching import ROOT

from gradpm.report import render
from gradpm.report.view import read_all

ENDLESS = """
import torch
from torch import nn
model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
step = 0
while True:
    h = model[0](torch.randn(8, 4)).detach()
    loss = model[1](h).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    step += 1
    if step == 200:
        print("ready", flush=True)
"""


def test_sigkill_leaves_the_diagnosis(tmp_path: Path) -> None:
    script, trace = tmp_path / "endless.py", tmp_path / "endless.gpm"
    script.write_text(ENDLESS)
    command = [sys.executable, "-m", "gradpm", "run", "--output", str(trace), str(script)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        time.sleep(1.5)  # a flush comes each second
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        running.communicate(timeout=60)
    assert running.returncode == -signal.SIGKILL
    run = read_all([trace])
    assert run.run["cut_off"]
    assert [finding.code for finding in run.findings] == ["GP101"]
    assert "cut off" in render([trace], "text") or "killed" in render([trace], "text")


YOUNG = """
import os, signal, torch
from torch import nn
model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
for step in range(3):
    loss = model[1](model[0](torch.randn(8, 4)).detach()).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_so_does_one_killed_before_its_first_second_is_over(tmp_path: Path) -> None:
    script, trace = tmp_path / "young.py", tmp_path / "young.gpm"
    script.write_text(YOUNG)
    command = [sys.executable, "-m", "gradpm", "run", "--output", str(trace), str(script)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert [finding.code for finding in read_all([trace]).findings] == ["GP101"]
