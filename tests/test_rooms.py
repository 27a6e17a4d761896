"""The walls between the rooms, looked at in the processes that people run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from launching import ROOT, under

HEAVY = ("rich", "textual", "asyncio", "numpy")
SAYS = f"""
import sys
before = [name for name in {HEAVY!r} if name in sys.modules]
import torch
x = torch.ones(2, requires_grad=True)
(x * 2).sum().backward()
print(sorted(name for name in {HEAVY!r} if name in sys.modules))
"""


def python(code: str, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *words]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return told.stdout


def test_the_users_process_loads_nothing_heavy_because_of_gradpm(tmp_path: Path) -> None:
    script = tmp_path / "says.py"
    script.write_text(SAYS)
    plain = python(script.read_text())
    watched = under(["run", "--quiet", "--output", str(tmp_path / "t.gpm"), str(script)], tmp_path)
    assert watched.out.strip().splitlines()[-1] == plain.strip().splitlines()[-1]


def test_reading_a_trace_never_loads_torch(tmp_path: Path) -> None:
    trace = tmp_path / "t.gpm"
    script = ROOT / "examples/01_detached.py"
    under(["run", "--quiet", "--output", str(trace), str(script)], tmp_path)
    code = (
        "import sys\n"
        "from gradpm.report import compared, render\nfrom pathlib import Path\n"
        "import gradpm.tui.app\n"
        "text = render([Path(sys.argv[1])], 'text')\n"
        "assert 'GP101' in text\n"
        "assert compared([Path(sys.argv[1])], [Path(sys.argv[1])]).verdict\n"
        "print('torch' in sys.modules)\n"
    )
    assert python(code, str(trace)).strip() == "False"
