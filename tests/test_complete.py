"""Everything that matters to autograd is in the trace, each with the line that did it."""

from __future__ import annotations

import copy
import inspect
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from launching import under

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.func import functional_call, grad, jacrev, vmap  # noqa: E402
from torch.nn.utils import parametrizations, parametrize  # noqa: E402
from torch.utils.checkpoint import checkpoint as checkpoint_by_name  # noqa: E402

import gradpm  # noqa: E402
from gradpm.trace.model import Trace  # noqa: E402
from gradpm.trace.schema import Call, GradState, LeafKind, LinkHow, Op, Table  # noqa: E402


class Row:
    """One op: its name, flags, the program's own line, the serials that go in and come out."""

    def __init__(self, name: str, flags: int, line: str, ins: list[int], outs: list[int]) -> None:
        self.name, self.flags, self.line, self.ins, self.outs = name, Op(flags), line, ins, outs


class Seen:
    """What a recording of one function of this file holds."""

    def __init__(self, act: Callable[[], Any], path: Path, **options: Any) -> None:
        with gradpm.record(path, **options) as recording:
            self.result = act()
        self.findings = [f.code for f in recording.findings if str(f.severity) != "note"]
        self.trace = trace = Trace(path)
        assert "stopped" not in trace.meta
        self.source = inspect.getsource(inspect.getmodule(act)).split("\n")  # type: ignore[arg-type]
        ops = trace.table(Table.OP)
        (into, ins), (out, outs) = ops.ragged("in"), ops.ragged("out")
        self.ops = [
            Row(
                trace.string(ops["name"][at]),
                ops["flags"][at],
                self.line_of(ops["frame"][at]),
                list(ins[into[at] : into[at + 1]]),
                list(outs[out[at] : out[at + 1]]),
            )
            for at in range(ops.rows)
        ]
        self.at = dict(zip(ops["id"], self.ops, strict=True))

    def line_of(self, frame: int) -> str:
        """The text of the innermost line of this file in a stack."""
        frames = self.trace.table(Table.FRAME)
        while frame and self.trace.files[frames["file"][frame]][0] != __file__:
            frame = frames["parent"][frame]
        return self.source[frames["line"][frame] - 1].strip() if frame else ""

    def named(self, name: str) -> list[Row]:
        return [row for row in self.ops if row.name == name]

    def one(self, name: str) -> Row:
        (row,) = self.named(name)
        return row

    def column(self, table: Table, name: str) -> list[Any]:
        return list(self.trace.table(table)[name])

    def text(self, table: Table, name: str) -> list[str]:
        return [self.trace.string(which) for which in self.column(table, name)]

    def changes(self) -> list[str]:
        """The lines that changed a tensor in place."""
        return [self.at[op].line for op in self.column(Table.CHANGE, "op")]

    def links(self) -> list[LinkHow]:
        return [LinkHow(how) for how in self.column(Table.LINK, "how")]

    def calls(self) -> list[Call]:
        return [Call(flags) for flags in self.column(Table.BACKWARD, "flags")]


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x.pow(3)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        return grad * 3 * x.square()


def test_a_custom_function_is_one_row_and_its_inside_is_no_cut(tmp_path: Path) -> None:
    def act() -> None:
        x = torch.ones(2, requires_grad=True)
        Cube.apply(x).sum().backward()

    seen = Seen(act, tmp_path / "t.gpm")
    assert Op.FUNCTION in seen.one("Cube.apply").flags
    assert seen.one("Cube.apply").line == "Cube.apply(x).sum().backward()"
    assert Op.IN_FUNCTION in seen.one("pow").flags
    assert Op.IN_BACKWARD in seen.one("square").flags
    assert "CubeBackward" in seen.text(Table.NODE, "name")
    assert seen.findings == []


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_recomputation_is_none_of_the_forward(reentrant: bool, tmp_path: Path) -> None:
    def act() -> None:
        layer, checkpoint = nn.Linear(2, 2), torch.utils.checkpoint.checkpoint
        out = checkpoint(lambda x: layer(x).tanh(), torch.ones(2), use_reentrant=reentrant)
        if not out.requires_grad:  # the known trap of the re-entrant kind: no input does
            x = torch.ones(2, requires_grad=True)
            out = checkpoint(lambda x: layer(x).tanh(), x, use_reentrant=True)
        out.sum().backward()

    seen = Seen(act, tmp_path / "t.gpm")
    *forward, again = seen.named("tanh")
    assert all(Op.IN_BACKWARD not in row.flags and Op.CHECKPOINT in row.flags for row in forward)
    assert Op.IN_BACKWARD in again.flags
    assert len(seen.named("checkpoint")) == len(forward)
    assert sorted(Call.NESTED in call for call in seen.calls()) == [False] + [True] * reentrant


def test_a_function_imported_by_name_before_is_met_and_given_back(tmp_path: Path) -> None:
    original = checkpoint_by_name

    def act() -> None:
        x = torch.ones(2, requires_grad=True)
        checkpoint_by_name(torch.tanh, x, use_reentrant=False).sum().backward()

    seen = Seen(act, tmp_path / "t.gpm")
    assert seen.one("checkpoint").line.startswith("checkpoint_by_name(")
    assert checkpoint_by_name is original is torch.utils.checkpoint.checkpoint


def test_derivatives_of_derivatives(tmp_path: Path) -> None:
    def act() -> None:
        x = torch.ones(2, requires_grad=True)
        (first,) = torch.autograd.grad((x**3).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x, create_graph=True)
        second.sum().backward()

    seen = Seen(act, tmp_path / "t.gpm")
    assert [Call.CREATE in call for call in seen.calls()] == [True, True, False]
    assert [Call.GRAD_CALL in call for call in seen.calls()] == [True, True, False]
    assert len(seen.named("autograd.grad")) == 2
    assert {"PowBackward0", "MulBackward0"} <= set(seen.text(Table.NODE, "name"))


def test_transforms_of_functions(tmp_path: Path) -> None:
    def act() -> Any:
        model = nn.Linear(3, 1)
        held = dict(model.named_parameters())
        loss = lambda held, x: functional_call(model, held, (x,)).sin().sum()  # noqa: E731
        each = vmap(grad(loss), in_dims=(None, 0))(held, torch.ones(4, 3))
        whole = jacrev(lambda x: x.exp())(torch.ones(2))
        functional_call(model, held, (torch.ones(3),)).sum().backward()
        return each["weight"].shape, whole.shape, model.weight.grad.tolist()

    seen = Seen(act, tmp_path / "t.gpm")
    assert seen.result == ((4, 1, 3), (2, 2), [[1.0, 1.0, 1.0]])
    assert seen.named("sin")
    assert seen.named("exp")
    assert GradState.FINITE in seen.column(Table.GRAD, "state")
    assert seen.findings == []


def test_mixed_precision(tmp_path: Path) -> None:
    def act() -> None:
        model = nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(torch.ones(2, 3)).sum()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    seen = Seen(act, tmp_path / "t.gpm")
    assert "scaler.step" in seen.text(Table.EVENT, "kind")
    assert "bfloat16" in seen.text(Table.SPEC, "dtype")
    assert "ToCopyBackward0" in seen.text(Table.NODE, "name")
    assert seen.findings == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_jit_modules_are_one_op(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    forms = torch.jit.trace(model, torch.ones(1, 3)), torch.jit.script(model)

    def act() -> None:
        for form in forms:
            form(torch.ones(1, 3)).sum().backward()

    seen = Seen(act, tmp_path / "t.gpm")
    assert not seen.named("linear")
    assert len(seen.named("sum")) == 2
    made = {serial for row in seen.ops for serial in row.outs}
    assert all(row.ins[0] in made for row in seen.named("sum"))
    assert GradState.FINITE in seen.column(Table.GRAD, "state")
    assert seen.findings == []


def test_compiled_regions(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    compiled = torch.compile(lambda x: x.exp().sin(), backend="aot_eager")

    def act() -> None:
        again = torch.compile(compiled)
        again(torch.ones(2, requires_grad=True)).sum().backward()

    torch._dynamo.reset()
    kept = Seen(act, tmp_path / "k.gpm", keep_compile=True)
    assert "torch.compile" not in capfd.readouterr().err
    (row,) = [row for row in kept.ops if row.name.startswith("compiled")]
    assert row.line == "again(torch.ones(2, requires_grad=True)).sum().backward()"
    assert "CompiledFunctionBackward" in kept.text(Table.NODE, "name")
    torch._dynamo.reset()
    eager = Seen(act, tmp_path / "e.gpm")
    assert capfd.readouterr().err.count("torch.compile runs eagerly") == 1
    assert {"SinBackward0", "ExpBackward0"} <= set(eager.text(Table.NODE, "name"))


def test_parametrized_and_shared_parameters(tmp_path: Path) -> None:
    class Symmetric(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.triu() + x.triu(1).transpose(-1, -2)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = parametrizations.weight_norm(nn.Linear(3, 3))
            self.b = parametrizations.spectral_norm(nn.Linear(3, 3))
            self.c, self.d = nn.Linear(3, 3), nn.Linear(3, 3)
            parametrize.register_parametrization(self.c, "weight", Symmetric())
            self.d.bias = self.c.bias
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x: Any) -> Any:
            return self.norm(self.d(self.c(self.b(self.a(x)))))

    def act() -> None:
        net = Net()
        net(torch.randn(4, 3)).pow(3).sum().backward()

    seen = Seen(act, tmp_path / "t.gpm")
    names = seen.text(Table.NAME, "name")
    assert {"a.parametrizations.weight.original0", "b.parametrizations.weight.original"} <= set(
        names
    )
    assert {"c.parametrizations.weight.original", "c.bias", "d.bias", "norm.running_mean"} <= set(
        names
    )
    serials = dict(zip(names, seen.column(Table.NAME, "object"), strict=True))
    assert serials["c.bias"] == serials["d.bias"]
    assert set(seen.text(Table.NAME, "root")) >= {"net"}
    assert LeafKind.BUFFER in seen.column(Table.LEAF, "kind")
    assert "return self.norm(self.d(self.c(self.b(self.a(x)))))" in seen.changes()  # its buffers
    assert seen.findings == []


def test_how_leaves_are_made_and_changed(tmp_path: Path) -> None:
    import numpy

    def act() -> None:
        net = nn.Linear(2, 2)
        wrapped = nn.Parameter(torch.ones(2) * 2)
        array = numpy.ones(2, dtype=numpy.float32)
        brought = torch.from_numpy(array).requires_grad_()
        old = torch.autograd.Variable(torch.ones(2), requires_grad=True)
        net.weight.data = torch.eye(2)
        twin, array_too = copy.deepcopy((net, brought.detach()))
        twin.load_state_dict(net.state_dict())
        (twin(wrapped + brought + old + array_too)).sum().backward()

    seen = Seen(act, tmp_path / "t.gpm")
    assert {LinkHow.WRAP, LinkHow.COPY} <= set(seen.links())
    assert seen.one("from_numpy").line.startswith("brought = ")
    assert seen.one("Variable").line.startswith("old = ")
    assert seen.one("data.__set__").line == "net.weight.data = torch.eye(2)"
    assert Op.SETTER in seen.one("requires_grad_").flags
    assert "twin.load_state_dict(net.state_dict())" in seen.changes()
    assert {"wrapped", "brought", "old"} <= set(seen.text(Table.NAME, "name"))


def test_changes_in_place_have_their_line(tmp_path: Path) -> None:
    def act() -> None:
        base, out = torch.ones(3, 3), torch.empty(3)
        view = base[0]
        view.add_(1)
        base[1] = 5
        torch.add(view, 1, out=out)
        torch._foreach_mul_([base, out], 2)
        view *= 3
        layer = nn.Linear(3, 1)
        optimizer = torch.optim.Adam(layer.parameters())
        layer(base).sum().backward()
        optimizer.step()

    seen = Seen(act, tmp_path / "t.gpm")
    assert set(seen.changes()) >= {
        "view.add_(1)", "base[1] = 5", "torch.add(view, 1, out=out)",
        "torch._foreach_mul_([base, out], 2)", "view *= 3",
    }  # fmt: skip
    lines = map(seen.line_of, seen.column(Table.EVENT, "frame"))
    told = dict(zip(seen.text(Table.EVENT, "kind"), lines, strict=True))
    assert told["optimizer.step"] == told["optimizer.stepped"] == "optimizer.step()"
    assert told["optimizer.new"].startswith("optimizer = ")


def test_hooks_of_every_kind(tmp_path: Path) -> None:
    def act() -> Any:
        told: list[str] = []
        layer = nn.Linear(2, 2)
        layer.register_forward_pre_hook(lambda *a: told.append("before"))
        layer.register_forward_hook(lambda *a: told.append("after"))
        layer.register_full_backward_hook(lambda *a: told.append("backward"))
        layer.weight.register_post_accumulate_grad_hook(lambda p: told.append("added"))
        x = torch.ones(2, requires_grad=True)
        out = layer(x)
        out.register_hook(lambda g: g.mul(2))
        out.grad_fn.register_prehook(lambda g: told.append("node"))
        out.sum().backward()
        return told

    seen = Seen(act, tmp_path / "t.gpm")
    assert sorted(seen.result) == ["added", "after", "backward", "before", "node"]
    assert seen.one("register_hook").line == "out.register_hook(lambda g: g.mul(2))"
    assert Op.IN_BACKWARD in seen.one("mul").flags
    assert seen.findings == []


def test_tensors_of_every_kind(tmp_path: Path) -> None:
    def act() -> None:
        table = nn.Embedding(5, 2, sparse=True)
        table(torch.tensor([1, 3])).sum().backward()
        z = torch.ones(2, dtype=torch.complex64, requires_grad=True)
        (z * z).abs().sum().backward()
        torch.arange(3) * 2
        (torch.ones(2, device="meta", requires_grad=True) * 2).sum().backward()
        ragged = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], requires_grad=True)
        torch.nested.to_padded_tensor(ragged * 2, 0.0).sum().backward()

    seen = Seen(act, tmp_path / "t.gpm")
    assert {"complex64", "int64"} <= set(seen.text(Table.SPEC, "dtype"))
    assert "meta" in seen.text(Table.SPEC, "device")
    assert GradState.SPARSE in seen.column(Table.GRAD, "state")
    assert len(seen.calls()) == 4
    assert seen.findings == []


def test_threads_have_a_tap_each(tmp_path: Path) -> None:
    def act() -> None:
        def work() -> None:
            (torch.ones(2, requires_grad=True) * 2).sum().backward()

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
            thread.join()

    seen = Seen(act, tmp_path / "t.gpm")
    assert len(seen.calls()) == 2
    assert len({row.flags >> 16 for row in seen.named("mul")}) == 2
    assert seen.findings == []


CHILDREN = """
import multiprocessing
import os

import torch


def work(size):
    (torch.ones(size, requires_grad=True) * 2).sum().backward()


if __name__ == "__main__":
    work(2)
    for method in ("fork", "spawn"):
        child = multiprocessing.get_context(method).Process(target=work, args=(3,))
        child.start()
        child.join()
    loader = torch.utils.data.DataLoader([torch.ones(2)] * 4, num_workers=2)
    print(sum(batch.sum().item() for batch in loader))
    if os.fork() == 0:
        os._exit(0)
    os.wait()
"""


def test_children_that_use_autograd_have_a_file_each(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(CHILDREN)
    ran = under(["run", "train.py"], tmp_path, OMP_NUM_THREADS="1")
    assert (ran.status, ran.out) == (0, "8.0\n")
    traces = [Trace(path) for path in sorted(tmp_path.glob("*.gpm"))]
    assert len({trace.meta["pid"] for trace in traces}) == len(traces) == 3
    assert (tmp_path / "train.gpm").exists()
    assert [trace.table(Table.BACKWARD).rows for trace in traces] == [1, 1, 1]
    assert ran.err.count("nothing wrong") == 1
