"""The op tap's two hot paths, compiled and in Python: they write the same rows."""

from __future__ import annotations

import sys
import types
import weakref
from array import array
from pathlib import Path
from typing import Any

import pytest
from launching import GRADPM, ROOT, execute

torch = pytest.importorskip("torch")

from gradpm.record import hot, known  # noqa: E402
from gradpm.record.rows import OpRows  # noqa: E402
from gradpm.trace.model import Trace  # noqa: E402
from gradpm.trace.schema import COLUMNS, LeafKind, Table  # noqa: E402

compiled = pytest.mark.skipif(not hot.is_compiled, reason="nothing is compiled: no compiler here")
SCRIPTS = [
    "tests/scripts/every_call.py",
    "examples/09_inplace_saved.py",
    "tests/scripts/loops/stepped_twice.py",
]
TIMED = {"ns"}
TENSOR = int(LeafKind.TENSOR)
ROUNDED = {"norm"}  # summed up in another order
SAID_ONCE = (Table.META, Table.STRING)  # the time of day is among them


def tables(trace: Path) -> dict[Table, dict[str, list[Any]]]:
    """All that a trace holds but times."""
    read = Trace(trace)
    return {
        table: {name: list(read.table(table)[name]) for name in COLUMNS[table] if name not in TIMED}
        for table in Table
        if table not in SAID_ONCE
    }


@compiled
@pytest.mark.parametrize("script", SCRIPTS)
def test_both_write_the_same_rows(script: str, tmp_path: Path) -> None:
    told = {}
    for path in ("python", "compiled"):
        (tmp_path / path).mkdir()
        words = [*GRADPM, "run", "--output", "t.gpm", str(ROOT / script)]
        ran = execute(words, tmp_path / path, GRADPM_HOT_PATH=path)
        assert "stopped" not in ran.narration
        told[path] = ran
    assert told["python"] == told["compiled"]
    expected, found = (tables(tmp_path / path / "t.gpm") for path in told)
    assert len(expected[Table.OP]["id"]) >= 5
    for table, columns in expected.items():
        for name, values in columns.items():
            wanted = pytest.approx(values, rel=1e-6) if name in ROUNDED else values
            assert found[table][name] == wanted, (table.name, name)


@compiled
def test_the_buffer_gives_back_what_was_put_in() -> None:
    rows = [
        ((7, 1, 2, 3, 4, -1, 0, 2, 1), (-5, 1 << 40), (9, 1, 3)),
        ((8, 1 << 31, 2, 3, (1 << 32) - 1, 1 << 50, 6, 0, 0), (), ()),
        ((9, 1, 2, 3, 4, 5, 0, 1, 2), [1], [10, 2, 0, 11, 3, 1]),
    ] * 2000
    native, plain = hot.OpRows(), OpRows()
    for row in rows:
        native.op(*row)
        plain.op(*row)
    assert len(native) == len(plain) == 6000
    assert dict(native.peek()) == dict(plain.peek())
    (count, columns), (expected, wanted) = native.take(), plain.take()
    assert (count, dict(columns)) == (expected, dict(wanted))
    assert [name for name, _ in columns] == list(COLUMNS[Table.OP])
    assert len(native) == 0
    assert dict(native.peek())["id"] == array("Q")


@compiled
@pytest.mark.parametrize(
    ("row", "error"),
    [
        (((1, 2, 3), (), ()), ValueError),
        (((1, 1, 1, 1, 1, 1, 1, 2, 0), (1,), ()), ValueError),
        (((1, 1, 1, 1, 1, 1, 1, 0, 1), (), (1, 2)), ValueError),
        (((1, 1, 1, 1, 1 << 32, 1, 1, 0, 0), (), ()), OverflowError),
        (((-1, 1, 1, 1, 1, 1, 1, 0, 0), (), ()), OverflowError),
        (((1, 1, 1, 1, 1, 1, 1, 70000, 0), (1,) * 70000, ()), OverflowError),
        (((1, 1, 1, 1, 1, 1, 1, 0, 1), (), (1, 2, 256)), OverflowError),
        (((1, 1, 1, "1", 1, 1, 1, 0, 0), (), ()), TypeError),
        ((None, (), ()), TypeError),
    ],
)
def test_the_buffer_refuses_what_is_no_row(row: Any, error: type[Exception]) -> None:
    rows = hot.OpRows()
    with pytest.raises(error):
        rows.op(*row)
    assert len(rows) == 0


def test_what_cannot_be_compiled_is_done_in_python(tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text(
        "import torch, sys\n"
        "w = torch.ones(2, requires_grad=True)\n"
        "(w * 2).sum().backward()\n"
        "print('gradpm.record._hot' in sys.modules)\n"
    )
    ran = execute([*GRADPM, "run", "t.py"], tmp_path, GRADPM_HOT_PATH="python")
    assert ran.out == "False\n"
    assert "nothing wrong in 1 engine call" in ran.narration


ODD = {
    "a module that will not say": (
        "class Bad(torch.nn.Module):\n"
        "    training = property(lambda self: 1 / 0, lambda self, value: None)\n"
        "    def forward(self, x): return (x * 2).sum()\n"
        "class Good(torch.nn.Module):\n"
        "    def forward(self, x): return (x * 2).sum()\n"
        "for _ in range(3):\n"
        "    for one in (Good(), Bad(), Good()): print(one(x).item())\n",
        "4.0\n" * 9,
    ),
    "a list that a mode below empties": (
        "from torch.overrides import TorchFunctionMode\n"
        "class Mode(TorchFunctionMode):\n"
        "    def __torch_function__(self, func, types, args=(), kwargs=None):\n"
        "        if func is torch.Tensor.requires_grad.__get__: given.clear()\n"
        "        return func(*args, **(kwargs or {}))\n"
        "import gradpm\n"
        "with Mode(), gradpm.record('inner.gpm'):\n"
        "    for _ in range(20):\n"
        "        given = [torch.ones(2) + at for at in range(9)]\n"
        "        made = torch.stack(given)\n"
        "print(made.shape)\n",
        "torch.Size([9, 2])\n",
    ),
    "more tensors than a row can hold": (
        "many = torch.arange(70000.).unbind()\nprint(torch.stack(many).shape)\n",
        "torch.Size([70000])\n",
    ),
    "a function that cannot be hashed": (
        "class Odd:\n"
        "    __name__ = 'odd'\n"
        "    def __eq__(self, other): return self is other\n"
        "    def __call__(self, x):\n"
        "        if torch.overrides.has_torch_function((x,)):\n"
        "            return torch.overrides.handle_torch_function(self, (x,), x)\n"
        "        return x + 1\n"
        "print(Odd()(x))\n",
        "tensor([2., 2.])\n",
    ),
    "a call by hand": (
        "from gradpm.record.hot import HotTap\n"
        "try: HotTap().__torch_function__(torch.relu, ())\n"
        "except (TypeError, AttributeError): print('refused')\n",
        "refused\n",
    ),
}


@pytest.mark.parametrize("path", ["python", "compiled"])
@pytest.mark.parametrize("case", ODD)
def test_what_is_odd_goes_as_without_gradpm(case: str, path: str, tmp_path: Path) -> None:
    text, expected = ODD[case]
    (tmp_path / "t.py").write_text("import torch\nx = torch.ones(2)\n" + text)
    ran = execute([*GRADPM, "run", "t.py"], tmp_path, GRADPM_HOT_PATH=path)
    assert (ran.status, ran.out) == (0, expected), ran.err


def norms_seen(module: Any, *grads: Any, measures: bool = True) -> list[float | None]:
    """What the end of an engine call tells of leaves with these gradients."""
    living = []
    for number, grad in enumerate(grads, 1):
        leaf = torch.zeros(grad.shape, dtype=grad.dtype, requires_grad=True)
        leaf.grad = grad
        living.append((module.Known(weakref.ref(leaf), -number, TENSOR, 0, 0), leaf))
    _, norms, late = module.end(living, set(), False, measures, 0, [])
    assert not late
    return list(norms)


@compiled
@pytest.mark.parametrize("count", [1, 7, 511, 512, 513, 4096, 1 << 15])
@pytest.mark.parametrize("scale", [1.0, 1e-15, 1e15, 0.0])
def test_a_small_gradient_is_measured_where_it_lies(count: int, scale: float) -> None:
    grad = torch.randn(count, generator=torch.Generator().manual_seed(count)).clamp(-1, 1) * scale
    (norm,) = norms_seen(hot, grad)
    assert norm == pytest.approx(float(torch.linalg.vector_norm(grad.double())), rel=1e-6)
    assert norms_seen(hot, grad, measures=False) == [None]


@compiled
@pytest.mark.parametrize("scale", [1e30, 3e38, 1e-30, 1e-44])
def test_where_squares_overflow_or_vanish_torch_is_asked(scale: float) -> None:
    assert norms_seen(hot, torch.full((600,), scale)) == [None]


@compiled
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("at", [0, 600, 1023, 1024])
def test_one_bad_number_shows_in_the_norm(bad: float, at: int) -> None:
    grad = torch.zeros(1025)
    grad[at] = bad
    (norm,) = norms_seen(hot, grad)
    assert norm is None or not norm < float("inf")  # torch is asked, or it is told here


@compiled
def test_other_gradients_are_left_to_torch() -> None:
    grads = [
        torch.ones((1 << 15) + 1), torch.ones(4, 4).t()[:, :2], torch.ones(3, dtype=torch.float64),
        torch.ones(3, dtype=torch.bfloat16), torch.ones(3, dtype=torch.complex64), torch.ones(0),
    ]  # fmt: skip
    assert norms_seen(hot, *grads) == norms_seen(known, *grads) == [None] * len(grads)


@pytest.mark.parametrize("module", [hot, known], ids=["hot", "python"])
def test_leaves_that_are_dead_or_a_subclass(module: Any) -> None:
    class Mine(torch.Tensor):
        pass

    dead, alive = torch.ones(2, requires_grad=True), torch.ones(2).as_subclass(Mine)
    alive.requires_grad_()
    alive.grad = torch.ones(2)
    followed = {-1: (dead, TENSOR), -2: (alive, TENSOR), -3: (torch.ones(2), known.BUFFER)}
    leaves = {
        at: module.Known(weakref.ref(one), at, kind, 0, 0) for at, (one, kind) in followed.items()
    }
    del followed, dead
    living, unsure = module.begin(leaves, set())
    assert [one.serial for one, _ in living] == [-2] == [one.serial for one, _ in unsure]
    assert sorted(leaves) == [-2]
    rows: list[Any] = []
    dense, _, late = module.end(living, {-2}, False, True, 5, rows)
    assert not late
    assert len(dense) + len(rows) // 10 == 1
    assert module.begin(leaves, {0}) == ([], [])


@pytest.mark.parametrize("module", [hot, known], ids=["hot", "python"])
@pytest.mark.parametrize("offset", [0, 30])
@pytest.mark.parametrize("left", [0, 8])
def test_memory_that_was_freed_is_not_read(module: Any, offset: int, left: int) -> None:
    flat = torch.ones(64)
    leaf = torch.zeros(4, requires_grad=True)
    leaf.grad = flat[offset : offset + 4]
    flat.untyped_storage().resize_(left)
    rows: list[Any] = []
    living = [(module.Known(weakref.ref(leaf), -1, TENSOR, 0, 0), leaf)]
    assert module.end(living, set(), False, True, 3, rows) == ([], [], [])
    assert rows[:3] == [3, -1, known.UNREAD]


@compiled
def test_a_gradient_is_asked_by_torchs_own_methods_and_not_copied() -> None:
    shadowed, lazy = torch.ones(5), torch.ones(5)._lazy_clone()
    shadowed.numel = 7
    shadowed.data_ptr = shadowed.is_contiguous = None
    assert norms_seen(hot, shadowed, lazy) == pytest.approx([5**0.5] * 2)
    assert torch._C._is_cow_tensor(lazy)


@compiled
def test_what_was_left_behind_by_a_transform_is_not_read() -> None:
    kept = []
    torch.vmap(lambda row: kept.append(row) or row)(torch.ones(2, 5))
    assert norms_seen(hot, torch.ones(5), *kept)[0] is not None


def test_what_was_compiled_for_another_gradpm_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def configure(*given: Any) -> None:
        raise TypeError("other questions are wanted")

    other = types.SimpleNamespace(configure=configure)
    monkeypatch.delenv(hot.ASKED_FOR, raising=False)
    monkeypatch.setattr("gradpm.record._hot", other, raising=False)
    monkeypatch.setitem(sys.modules, "gradpm.record._hot", other)
    assert hot._compiled() is None
