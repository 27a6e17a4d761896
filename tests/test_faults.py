"""A fault of gradpm's own stays its own: the program goes on, and the trace says why not we."""

from __future__ import annotations

import functools
import os
import pkgutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from breaking import FAULT, broken, called_in, name_of

torch = pytest.importorskip("torch")

from watched_program import Scaled, compiling, program  # noqa: E402

import gradpm  # noqa: E402
import gradpm.record  # noqa: E402
import gradpm.trace  # noqa: E402
from gradpm.record import hooks, hot, threads  # noqa: E402
from gradpm.record.recorder import Recorder  # noqa: E402
from gradpm.record.recording import end  # noqa: E402
from gradpm.trace.model import Trace  # noqa: E402

BRIDGES = {
    # Carry the program's own call, with nothing of gradpm's above them:
    "tap.OpTap.__torch_function__", "tap.OpTap.otherwise", "tap.OpTap.passed", "tap.OpTap.called",
    "backward.standing_in.<locals>._engine_run_backward", "tracebacks.Stands.call", "tracebacks.Stands.call_unseen",
    "threads._enter.<locals>.told", "compiling.Compiling._enter", "compiling.Compiling._leave",
    "compiling.Compiling._step_aside.<locals>.<lambda>", "compiling._nothing", "aside._step.<locals>.step", "modes.suspended", "modes._without.<locals>.call",
    # Are the guard itself:
    "guard.Guard.guard", "guard.Guard.lightly", "guard.Guard._takes", "guard.Guard.fault",
    "values.Values.place", "within.within", "tracebacks.strip", "faults.tell", "faults.is_ours",
    "recorder.Recorder.tap",
    # Are called by who asks for a recording, in the program's own words:
    "__init__.record", "recording.Recording.__init__", "recording.Recording.__enter__",
    "recording.Recording.__exit__", "recording.Recording._begun", "recording.begin",
}  # fmt: skip
BEFORE_PROFILES = (threads._enter, Recorder.enter_thread)  # a thread comes by before it is profiled
DISGUISES = {
    "modes._step_aside", "mode.StackedMode.place_in_stack", "mode.StackedMode.leave", "tracebacks.Stands.is_stand",
    "tracebacks._is_own",
}  # fmt: skip
"""Without these a program that asks for frames or modes may see gradpm's; no number changes."""
NUMBERS = 11
WRITING = {"writer", "layout", "descriptor"}
"""Without these no reason can get into the trace: it is said on stderr."""
ENDING = {
    "recorder.Recorder.remove", "recorder.Recorder._leave", "patches.Patches.remove",
    "patches._restore", "singular.Singular.remove", "faults.unlisten", "output.Output.open",
    "output.Output.stop", "output.Output.close", "stacks.Stacks.forget_frames",
}  # fmt: skip
"""Run when the trace is sealed, or open it: the same."""
ROOMS = ("record", "trace")
FILES = sorted(
    name
    for room in (gradpm.record, gradpm.trace)
    for _, name, _ in pkgutil.iter_modules(room.__path__)
)


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@functools.cache
def expected() -> dict[Any, list[Any]]:
    """What the programs see where nothing is recorded."""
    return {act: act() for act in (program, compiling)}


@dataclass(frozen=True)
class Run:
    """One of the programs, recorded in one way."""

    act: Callable[[], list[Any]]
    keep_compile: bool = False
    early: bool = False  # the fault is there as recording begins

    def recording(self, path: Path) -> Any:
        return gradpm.record(path, keep_compile=self.keep_compile)


class Calls:
    """Every function of gradpm's that runs as the programs are recorded, and the doors."""

    def __init__(self, folder: Path) -> None:
        self.doors: set[CodeType] = set()
        self.found: dict[tuple[str, bool], tuple[CodeType, Run]] = {}  # by name, and if early
        register = hooks.register

        def spy(door: Any, hook: Any) -> Any:
            self.doors.add(hook.__code__)
            return register(door, hook)

        with pytest.MonkeyPatch.context() as patch:
            for module in list(sys.modules.values()):
                if getattr(module, "register", None) is register:
                    patch.setattr(module, "register", spy)
            for run in (Run(compiling), Run(compiling, keep_compile=True), Run(program)):
                self._look(run, run.recording(folder / "t.gpm"))
        for function in BEFORE_PROFILES:
            self.found[name_of(function.__code__), False] = function.__code__, Run(program)

    def _look(self, run: Run, recording: Any) -> None:
        begin = called_in(recording.__enter__, *ROOMS)
        later = called_in(lambda: (run.act(), self._see(recording)), *ROOMS)
        early = replace(run, early=True)
        self.found |= {(name, True): (code, early) for name, code in begin.items()}
        self.found |= {(name, False): (code, run) for name, code in later.items()}

    def _see(self, recording: Any) -> None:
        """What stands in for torch's functions now; then the end."""
        for *_, value in recording._recorder.patches._undo:
            if value is hot.mode_off:
                continue  # compiled: there is no function in Python that could fail
            function = getattr(value, "__func__", value)
            code = getattr(function, "__code__", None) or type(function).__call__.__code__
            self.doors.add(code)
        recording.__exit__(None, None, None)


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Calls:
    expected()
    return Calls(tmp_path_factory.mktemp("calls"))


def test_every_stand_in_and_hook_is_met_by_the_programs(calls: Calls) -> None:
    met = {code for (_, early), (code, _) in calls.found.items() if not early}
    before = {code for code in calls.doors if code.co_name == "_set_ident"}  # see BEFORE_PROFILES
    assert len(calls.doors) >= 30
    assert sorted(name_of(code) for code in calls.doors - met - before) == []


@pytest.mark.parametrize("file", FILES)
def test_a_fault_in_any_function_stays_there(
    file: str, calls: Calls, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for (name, early), (code, run) in calls.found.items():
        if name.partition(".")[0] != file or name in BRIDGES or code in calls.doors:
            continue
        found = with_fault(code, tmp_path / "t.gpm", run)
        told, plain = capfd.readouterr().err, expected()[run.act]
        if name in DISGUISES:
            found, plain = found[:NUMBERS], plain[:NUMBERS]
        assert found == plain, name
        assert torch._C._len_torch_function_stack() == 0, name
        only_said = early or file in WRITING or name in ENDING
        if not (only_said and FAULT in told):
            stopped = Trace(tmp_path / "t.gpm").meta.get("stopped", told)
            assert FAULT in str(stopped), name


def with_fault(code: CodeType, path: Path, run: Run) -> list[Any]:
    """What the program sees if this code fails, as recording begins or from then on."""
    recording = run.recording(path)
    if not run.early:
        recording.__enter__()
    try:
        with broken(code):
            if run.early:
                recording.__enter__()
            found = run.act()
            recording.__exit__(None, None, None)
    finally:
        if recording._recorder is not None:  # what could not be taken away just now
            end(recording._recorder)
            recording._recorder.remove()
    return found


SCRIPT = """
import torch
model = torch.nn.Linear(300, 300)
for _ in range(400):
    model(torch.ones(1, 300)).sum().backward()
print("done", model.weight.grad.sum().item())
"""


def run(folder: Path, before: str = "", env: dict[str, str] | None = None) -> Any:
    (folder / "train.py").write_text(before + SCRIPT)
    root = str(Path(__file__).parents[1])
    words = [sys.executable, "-m", "gradpm", "run", "--detail", "full", "train.py"]
    return subprocess.run(
        words, cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": root}
    )


def test_a_full_disk_ends_the_recording_alone(tmp_path: Path) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
    ended = run(tmp_path, limit)
    plain = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout) == (0, plain.stdout)
    assert Trace(tmp_path / "train.gpm").meta["torch"]
    assert "File too large" in Trace(tmp_path / "train.gpm").meta["stopped"]["fault"]
    assert "recording stopped early (File too large)" in ended.stderr


BEHIND = ("_uncaught", "_begin_again", "_name")
FORKING = """
import os, sys
import torch
sys.path.insert(0, sys.argv[1])
from breaking import broken
from gradpm.record import session
x = torch.ones(2, requires_grad=True)
for name in sys.argv[2:]:
    if os.fork() == 0:
        broken(getattr(session, name).__code__).__enter__()
        (x * 2).sum().backward()
        child = os.fork()
        if child == 0:
            (x * 2).sum().backward()
            print(x.grad.tolist(), flush=True)
            os._exit(3)
        print(name, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        raise ValueError("the program's own")
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


def test_a_fault_at_the_ends_of_a_process_stays_there(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(FORKING)
    words = ["-m", "gradpm", "run", "train.py", str(Path(__file__).parent), *BEHIND]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    ended = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    told = [line for name in BEHIND for line in ("[4.0, 4.0]", f"{name} 3", "1")]
    assert ended.stdout.split("\n")[:-1] == told, ended.stderr
    assert ended.stderr.count("ValueError: the program's own") == len(BEHIND)
    assert "gradpm/" not in ended.stderr


def test_a_folder_taken_away_ends_the_recording_alone(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    ended = run(folder, "import torch, shutil, os; shutil.rmtree(os.getcwd())\n")
    assert (ended.returncode, ended.stdout[:4]) == (0, "done")
    assert "Traceback" not in ended.stderr


def test_a_file_taken_away_changes_nothing(tmp_path: Path) -> None:
    ended = run(
        tmp_path,
        "import os, threading; threading.Timer(1.8, lambda: os.path.exists('train.gpm') and "
        "os.unlink('train.gpm')).start()\n",
    )
    assert (ended.returncode, ended.stdout[:4]) == (0, "done")


def test_what_is_compiled_after_the_end_of_recording_does_not_meet_the_taps(tmp_path: Path) -> None:
    from torch._dynamo.testing import CompileCounter

    def step(x: Any) -> Any:
        return Scaled.apply(torch.utils.checkpoint.checkpoint(torch.sin, x, use_reentrant=False))

    def frames_of() -> int:
        torch._dynamo.reset()
        counter = CompileCounter()
        torch.compile(step, backend=counter)(torch.ones(2, requires_grad=True)).sum().backward()
        return int(counter.frame_count)

    expected = frames_of()
    with gradpm.record(tmp_path / "t.gpm") as recording:
        recorder: Any = recording._recorder
        recorder.fault("op tap", LookupError("injected"))
        with warnings.catch_warnings(record=True) as told:
            assert frames_of() == expected
    assert [str(one.message) for one in told] == []
