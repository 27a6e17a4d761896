"""A fault of gradpm's own stays its own: the program goes on, and the trace says why not we."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import gradpm  # noqa: E402
from gradpm.record import frames, graph, singular, tracebacks  # noqa: E402
from gradpm.record.amp import Scalers  # noqa: E402
from gradpm.record.backward import EngineTap  # noqa: E402
from gradpm.record.errors import Errors  # noqa: E402
from gradpm.record.growth import Growth  # noqa: E402
from gradpm.record.identity import Identity  # noqa: E402
from gradpm.record.leaves import Leaves  # noqa: E402
from gradpm.record.left import Left  # noqa: E402
from gradpm.record.looks import Looks  # noqa: E402
from gradpm.record.names import Names  # noqa: E402
from gradpm.record.optimizers import Optimizers  # noqa: E402
from gradpm.record.output import Output, Sources  # noqa: E402
from gradpm.record.recorder import Recorder  # noqa: E402
from gradpm.record.rows import Rows  # noqa: E402
from gradpm.record.scopes import Scopes  # noqa: E402
from gradpm.record.singular import Singular  # noqa: E402
from gradpm.record.stacks import Stacks  # noqa: E402
from gradpm.record.strings import Specs, Strings  # noqa: E402
from gradpm.record.tap import OpTap  # noqa: E402
from gradpm.trace.model import Trace  # noqa: E402
from gradpm.trace.writer import LogWriter  # noqa: E402

TAPS = [
    (OpTap, "row"), (OpTap, "serial"),
    (Recorder, "before"), (Recorder, "after"), (Recorder, "_place"), (Recorder, "collect"),
    (Recorder, "first_seen"), (Recorder, "outputs"), (Recorder, "op_raised"),
    (Recorder, "parameter"), (Recorder, "applied"), (Recorder, "refused"),
    (Recorder, "checkpointed"), (Recorder, "variable"), (Recorder, "event"),
    (Recorder, "_new_tap"), (Recorder, "leave_thread"), (Recorder, "_buffers"),
    (EngineTap, "begin"), (EngineTap, "end"), (EngineTap, "differentiated"),
    (EngineTap, "_failed"), (Leaves, "add"), (Leaves, "before"), (Leaves, "after"),
    (Names, "read"), (Names, "look"), (Growth, "turn"), (Singular, "ran"), (Singular, "_bad"),
    (Looks, "add"), (Optimizers, "made"), (Optimizers, "before_step"),
    (Optimizers, "after_step"), (Optimizers, "zeroed"), (Optimizers, "group_added"),
    (Optimizers, "refused"), (Scopes, "enter"), (Stacks, "at"),
    (Stacks, "token"), (Stacks, "position"), (Strings, "_new"), (Strings, "json"),
    (Specs, "_new"), (Identity, "new"), (Identity, "prune"), (Left, "out"), (Left, "link"),
    (Errors, "seen"), (Errors, "uncaught"), (Sources, "id"), (Rows, "take"), (Rows, "add"),
    (Output, "interned"), (LogWriter, "frame"), (LogWriter, "commit"),
    (tracebacks.Stands, "of"), (frames, "visible"), (frames, "splice"),
    (graph, "_measure"), (singular, "finite"), (Scalers, "id"), (EngineTap, "_wants_graph"),
]  # fmt: skip


class Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * 2

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad * 2


def program() -> list[Any]:
    """A little of everything that has a tap; what it saw."""
    seen: list[Any] = []
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))]})
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    for _ in range(8):
        x = torch.from_numpy(torch.randn(2, 3).numpy())
        h = torch.utils.checkpoint.checkpoint(model, Scaled.apply(x), use_reentrant=False)
        loss = h.pow(2).sum().sqrt() + torch.autograd.Variable(torch.zeros(1)).sum()
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        seen.append(loss.item().hex())
    (grad,) = torch.autograd.grad(model[0].weight.exp().sum(), model[0].weight)
    seen.append(grad.sum().item().hex())
    nan = torch.zeros(2, requires_grad=True)
    (nan * 0).sqrt().sum().backward()
    seen.append(str(nan.grad))
    refusals = (
        lambda: x @ x,
        lambda: loss.backward(),
        lambda: Scaled.apply(x @ x),
        lambda: torch.optim.SGD([model[0].weight * 2], 0.1),
    )
    for refused in refusals:
        try:
            refused()
        except Exception as error:
            seen.append((type(error), str(error)))
    thread = threading.Thread(target=lambda: seen.append(torch.ones(2).sum().item()))
    thread.start()
    thread.join()
    return seen


@pytest.mark.parametrize(("owner", "name"), TAPS, ids=lambda one: getattr(one, "__name__", one))
def test_a_fault_in_a_tap_stays_there(
    owner: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = program()

    def broken(*args: Any, **kwargs: Any) -> Any:
        raise LookupError("injected")

    here = broken.__code__.replace(co_filename=frames.__file__)
    broken.__code__ = here  # as if written in the tap itself

    with gradpm.record(tmp_path / "t.gpm") as recording:
        monkeypatch.setattr(owner, name, broken)
        assert program() == expected
    monkeypatch.undo()
    assert torch._C._len_torch_function_stack() == 0
    assert program() == expected
    told = Trace(recording.path).meta
    if "stopped" in told:
        assert "injected" in told["stopped"]["fault"]


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
    assert (ended.returncode, ended.stdout[:4]) == (0, "done")
    assert Trace(tmp_path / "train.gpm").meta["torch"]


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
