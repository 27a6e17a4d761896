"""`with gradpm.record(...)`: the same facts as `gradpm run`, and torch left as it was found."""

from __future__ import annotations

import inspect
import sys
import threading
import traceback
import warnings
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import gradpm  # noqa: E402
from gradpm.errors import OutputError  # noqa: E402
from gradpm.record.backward import EngineTap  # noqa: E402
from gradpm.record.options import Options  # noqa: E402
from gradpm.record.recording import Recording  # noqa: E402
from gradpm.trace.model import Trace  # noqa: E402
from gradpm.trace.schema import Call, GradState, Table  # noqa: E402


def as_found() -> list[Any]:
    """Everything that a recording stands in for, and what it might leave behind."""
    from torch.optim import optimizer
    from torch.utils.hooks import RemovableHandle

    return [
        torch._C._len_torch_function_stack(),
        torch.nn.Parameter.__dict__.get("__new__"),
        torch.autograd._engine_run_backward,
        torch.autograd.graph._engine_run_backward,
        torch.autograd.Function.__dict__["apply"],
        type(torch.autograd.Variable).__dict__.get("__call__"),
        dict(vars(torch.optim.Optimizer)),
        dict(optimizer._global_optimizer_pre_hooks),
        dict(optimizer._global_optimizer_post_hooks),
        torch.compile, torch.from_numpy, torch.utils.swap_tensors, torch.utils.checkpoint.checkpoint,
        torch.overrides.has_torch_function, torch.jit.trace_module,
        warnings.warn, traceback.walk_tb, traceback.walk_stack, inspect.getouterframes,
        threading.Thread._set_ident, threading.Thread._delete,  # type: ignore[attr-defined]
        RemovableHandle.next_id,
        sys._getframe().f_trace, sys._getframe().f_back.f_trace,  # type: ignore[union-attr]
    ]  # fmt: skip


def backwards(path: Path) -> int:
    return Trace(path).table(Table.BACKWARD).rows


def test_nothing_counts_as_dropped_where_all_was_recorded(tmp_path: Path) -> None:
    with gradpm.record(tmp_path / "t.gpm") as recording:
        model = torch.nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.ones(2, 3)).sum().backward()
            optimizer.step()
    run = recording.diagnosis.run
    assert run["ops"] == Trace(tmp_path / "t.gpm").table(Table.OP).rows > 0
    assert run["dropped"]["ops"] == 0


def test_torch_is_left_as_it_was_found(tmp_path: Path) -> None:
    before = as_found()
    with gradpm.record(tmp_path / "t.gpm"):
        model = torch.nn.Linear(3, 1)
        kept = model(torch.ones(2, 3)).exp().sqrt().sum()
        model(torch.ones(2, 3)).sum().backward()
        torch.optim.SGD(model.parameters(), 0.1).step()
    assert as_found() == before
    kept.backward()
    assert backwards(tmp_path / "t.gpm") == 1


def test_every_stand_in_can_be_lifted_and_is_taken_away(tmp_path: Path) -> None:
    from torch.optim import optimizer

    hooks = optimizer._global_optimizer_pre_hooks, optimizer._global_optimizer_post_hooks
    with gradpm.record(tmp_path / "t.gpm") as recording:
        patches = recording._recorder.patches  # type: ignore[union-attr]
        stood_in = list(patches._undo)
        patches.lift()  # for what is compiled, which would compile the stand-ins too
        assert all(vars(owner).get(name) is was for owner, name, was, _, _ in stood_in)
        assert not any(hooks)
        patches.lay()
        assert all(vars(owner).get(name) is now for owner, name, _, _, now in stood_in)
        assert all(hooks)
    assert len(stood_in) > 25
    assert all(vars(owner).get(name) is was for owner, name, was, _, _ in stood_in)
    assert not any(hooks)


def test_an_exception_goes_through_and_is_explained(tmp_path: Path) -> None:
    before = as_found()
    with (
        pytest.raises(RuntimeError, match="does not require grad") as raised,
        gradpm.record(tmp_path / "t.gpm") as recording,
    ):
        torch.ones(2).sum().backward()
    assert as_found() == before
    assert [finding.code for finding in recording.findings] == ["GP201"]
    assert "gradpm" not in "".join(frame.filename for frame in traceback.extract_tb(raised.tb)[1:])


def test_an_inner_recording_has_a_file_of_its_own(tmp_path: Path) -> None:
    x = torch.ones(3, requires_grad=True)
    before = as_found()
    with gradpm.record(tmp_path / "outer.gpm"):
        x.exp().sum().backward()
        with gradpm.record(tmp_path / "inner.gpm"):
            x.exp().sum().backward()
            x.exp().sum().backward()
        x.exp().sum().backward()
    assert as_found() == before
    assert backwards(tmp_path / "outer.gpm") == 2
    assert backwards(tmp_path / "inner.gpm") == 2


def test_recordings_may_end_in_any_order(tmp_path: Path) -> None:
    before = as_found()
    first, second = gradpm.record(tmp_path / "1.gpm"), gradpm.record(tmp_path / "2.gpm")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    torch.ones(2, requires_grad=True).sum().backward()
    second.__exit__(None, None, None)
    assert as_found() == before
    assert backwards(tmp_path / "2.gpm") == 1


def test_findings_may_be_asked_for_while_it_records(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 1)
    with gradpm.record(tmp_path / "t.gpm") as recording:
        model(torch.ones(2, 3)).sum().backward()
        assert recording.findings == []
        assert recording.path == tmp_path / "t.gpm"


def test_a_folder_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    before = as_found()
    with pytest.raises(OutputError), gradpm.record(tmp_path / "no" / "t.gpm"):
        pass
    assert as_found() == before


def test_a_users_mode_outlives_a_recording(tmp_path: Path) -> None:
    class Mode(torch.overrides.TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            return func(*args, **(kwargs or {}))

    recording, mode = gradpm.record(tmp_path / "t.gpm"), Mode()
    recording.__enter__()
    mode.__enter__()
    recording.__exit__(None, None, None)
    assert torch.overrides._get_current_function_mode_stack() == [mode]
    mode.__exit__(None, None, None)


def test_a_long_loop_takes_no_more_memory(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9999)

    def steps(number: int) -> None:
        for _ in range(number):
            optimizer.zero_grad()
            model(torch.randn(2, 4)).pow(2).sum().backward()
            optimizer.step()
            schedule.step()

    with gradpm.record(tmp_path / "t.gpm"):
        steps(1500)
        before = resident()
        steps(3000)
        assert resident() - before < 6e6


def resident() -> int:
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("needs /proc")
    return int(statm.read_text().split()[1]) * 4096


def watched(path: Path, **options: Any) -> tuple[list[bool], set[int], set[int]]:
    """(which calls were measured node by node, the states of gradients, which calls read a loss)."""
    with Recording(path, Options(**options)):
        model = torch.nn.Linear(3, 1)
        for _ in range(9):
            model(torch.ones(2, 3)).pow(2).sum().backward()
    table, grads = Trace(path).table(Table.BACKWARD), Trace(path).table(Table.GRAD)
    flags = list(table["flags"])
    lossy = {at for at, flag in enumerate(flags) if flag & Call.LOSS}
    return [bool(flag & Call.WATCHED) for flag in flags], set(grads["state"]), lossy


def test_how_closely_values_are_looked_at_is_as_asked_for(tmp_path: Path) -> None:
    measured, states, lossy = watched(tmp_path / "auto.gpm")
    assert measured == [True] * 3 + [False] * 6
    assert states == {GradState.FINITE} and len(lossy) == 9
    assert watched(tmp_path / "all.gpm", stats="all")[0] == [True] * 9
    assert watched(tmp_path / "every.gpm", every=4)[0] == [at < 3 or at % 4 == 0 for at in range(9)]
    assert watched(tmp_path / "none.gpm", stats="none") == ([False] * 9, {GradState.UNREAD}, set())


@pytest.mark.parametrize("act", ["begin", "end"])
def test_ctrl_c_in_gradpms_own_code_shows_none_of_its_frames(
    act: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*given: Any) -> None:
        raise KeyboardInterrupt

    loss = torch.ones(2, requires_grad=True).sum()
    with gradpm.record(tmp_path / "t.gpm"):
        monkeypatch.setattr(EngineTap, act, interrupted)
        with pytest.raises(KeyboardInterrupt) as caught:
            loss.backward()
        monkeypatch.undo()
    names = [entry.frame.code.raw.co_filename for entry in caught.traceback]
    assert names[-1] == __file__
    assert [name for name in names if "gradpm/record" in name] == []
