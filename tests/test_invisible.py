"""The recorder changes nothing: each small program does the same with and without it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from launching import ROOT, environment

from gradpm.trace.model import Trace

PROGRAMS = sorted(Path(__file__).with_name("invisible").glob("*.py"))
DIRECTIVE = re.compile(r"^# (env|stdin): (.*)$", re.MULTILINE)
NUMBERS = re.compile(r"0x[0-9a-f]{6,}")
COMPILES = "gradpm: torch.compile runs eagerly"
PROFILER = re.compile(r"^USDT:.*\] (?=profiler_)")  # the time, and the process

pytest.importorskip("torch")


class Ran:
    """What one run of a program showed to the world."""

    def __init__(self, status: int, out: str, err: str, folder: str) -> None:
        self.status = status
        self.out = NUMBERS.sub("0x", out).replace(folder, "")
        lines = NUMBERS.sub("0x", err).replace(folder, "").splitlines(keepends=True)
        self.err = "".join(
            PROFILER.sub("", line) for line in lines if not line.startswith(COMPILES)
        )


def start(words: list[str], folder: Path, env: dict[str, str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    env = environment(**{"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", **env})
    return subprocess.Popen(
        words, cwd=folder, env=env, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )


def end(process: subprocess.Popen[str], given: str, folder: Path) -> Ran:
    out, err = process.communicate(given, timeout=120)
    return Ran(process.returncode, out, err, str(folder))


def both(words: list[str], folder: Path, given: str = "", **env: str) -> tuple[Ran, Ran]:
    """A command under python, and under `gradpm run`, the two at the same time."""
    door = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from gradpm.cli import main; sys.exit(main())"
    watched = [sys.executable, "-c", door, "run", "--quiet", "--output", "trace.gpm"]
    folders = folder / "plain", folder / "watched"
    for which in folders:
        which.mkdir()
        for file in folder.glob("*.py"):
            shutil.copy(file, which)
    plain = start([sys.executable, *words], folders[0], env)
    under = start([*watched, *words], folders[1], env)
    return end(plain, given, folders[0]), end(under, given, folders[1])


def assert_same(words: list[str], folder: Path, given: str = "", **env: str) -> None:
    plain, watched = both(words, folder, given, **env)
    assert watched.out == plain.out
    assert watched.err == plain.err
    assert watched.status == plain.status


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_the_program_cannot_tell(program: Path, tmp_path: Path) -> None:
    told = dict(DIRECTIVE.findall(program.read_text()))
    shutil.copy(program, tmp_path / "train.py")  # a name that hides no module
    env = dict(pair.split("=") for pair in told.get("env", "").split())
    assert_same(["train.py", "--lr", "0.1"], tmp_path, told.get("stdin", "given"), **env)
    traces = list(tmp_path.rglob("*.gpm"))
    assert [path.name for path in traces if "stopped" in Trace(path).meta] == []


INLINE = """import sys, torch
x = torch.ones(2, requires_grad=True)
(x * 2).sum().backward()
print(x.grad, sys.argv, __name__, sys.path[0] in ("", sys.path[0]), "sitecustomize" in sys.modules)
torch.ones(2) @ torch.ones(3)
"""


def test_code_on_the_command_line(tmp_path: Path) -> None:
    assert_same(["-c", INLINE, "--lr", "1"], tmp_path)


def test_a_program_on_stdin(tmp_path: Path) -> None:
    assert_same(["-", "--lr", "1"], tmp_path, INLINE)


def test_a_module(tmp_path: Path) -> None:
    (tmp_path / "trainer.py").write_text(INLINE)
    assert_same(["-m", "trainer", "--lr", "1"], tmp_path)


def test_the_users_own_sitecustomize(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import torch\ntorch.customized = 1\n")
    (tmp_path / "train.py").write_text("import torch\nprint(torch.customized)\n" + INLINE)
    assert_same(["train.py"], tmp_path, PYTHONPATH=".")


def test_a_difference_would_be_seen(tmp_path: Path) -> None:
    door = "/proc/self/environ"  # the one that is left open on purpose: see the boot
    if not Path(door).exists():
        pytest.skip("needs /proc")
    (tmp_path / "train.py").write_text(f"import torch\nprint('GRADPM' in open({door!r}).read())\n")
    with pytest.raises(AssertionError):
        assert_same(["train.py"], tmp_path)
