"""Ops whose result is taken to be like its operands: it is, whatever these are."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import gradpm
from gradpm.record.plans import KEEPING
from gradpm.record.recording import _open
from gradpm.trace.model import Trace
from gradpm.trace.schema import Table

Spec = tuple[tuple[int, ...], str]

ONE = """x + 1.5; 2 + x; x - 0.5; 1 - x; x * 2; 0.5 * x; -x; x.abs(); x.relu(); torch.tanh(x); x.sin();
    x.sigmoid(); x.cos(); torch.erf(x); x.floor(); x.ceil(); x.round(); x.trunc(); x.sign();
    x.clamp(0, 1); torch.clip(x, 0.0); x.clone(); x.contiguous(); x.detach(); torch.rsub(x, 1);
    x.subtract(1); torch.multiply(x, 3); torch.negative(x); torch._C._nn.gelu(x);
    torch._C._nn.silu(x); torch._C._nn.hardtanh(x); x * True; x * 1j"""
TWO = """x + y; x - y; torch.mul(x, y); torch.maximum(x, y); torch.minimum(x, y);
    torch.lerp(x, y, 0.5); torch.lerp(x, y, y); torch.clamp(x, y); torch.rsub(x, y)"""
TURN = """
def run(note):
    for x in operands():
        for y in operands() if {two} else (None,):
            for change in changes:
                try:
                    change(x)
                    note({expression})
                except (RuntimeError, NotImplementedError):
                    pass
"""


def operands() -> list[torch.Tensor]:
    """Results of ops, of every kind; twice, so that each line has been seen before."""
    kinds: list[dict[str, Any]] = [
        {}, {"dtype": torch.float64}, {"dtype": torch.int64}, {"dtype": torch.complex64},
        {"dtype": torch.half}, {"dtype": torch.bfloat16}, {"requires_grad": True},
    ]  # fmt: skip
    made = [torch.ones(3, **kind).mul(1) for kind in kinds]
    made += [torch.ones(2, 1).mul(1), torch.ones(()).mul(1), torch.ones(0).mul(1)]
    return [*made, torch.ones(3) > 0, *made]


def turned(x: torch.Tensor) -> None:
    x.unsqueeze_(0)


def renewed(x: torch.Tensor) -> None:
    x.data = torch.ones(4, 4, dtype=x.dtype)


def written(x: torch.Tensor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that it resizes
        torch.mul(torch.ones(2, 5, dtype=x.dtype), 2, out=x)


def resized(x: torch.Tensor) -> None:
    x.resize_(6)


def left(x: torch.Tensor) -> None:
    """Not changed."""


def seen_and_told(
    folder: Path, expressions: str, changes: list[Callable[[torch.Tensor], None]], *, two: bool
) -> tuple[dict[int, Spec], dict[int, Spec], set[str]]:
    """What each op's result is, what the trace tells of it, and the names of the ops."""
    seen: dict[int, Spec] = {}
    with gradpm.record(folder / "t.gpm"):
        tap = _open[-1].tap()

        def note(result: torch.Tensor) -> None:
            seen[tap.last_op] = (tuple(result.shape), str(result.dtype))

        for expression in expressions.split(";"):
            space = {"torch": torch, "operands": operands, "changes": changes}
            exec(TURN.format(expression=expression.strip(), two=two), space)
            space["run"](note)  # type: ignore[operator]
    trace = Trace(folder / "t.gpm")
    ops = trace.table(Table.OP)
    starts, specs = ops.ragged("spec", "nout")
    rows = {op: row for row, op in enumerate(ops["id"]) if op in seen}
    found = {op: trace.spec(specs[starts[row]]) for op, row in rows.items()}
    told = {op: (tuple(spec.shape), f"torch.{spec.dtype}") for op, spec in found.items()}
    return seen, told, {trace.string(ops["name"][row]) for row in rows.values()}


@pytest.mark.parametrize("autocast", [False, True])
def test_what_is_not_asked_is_as_it_would_be_told(autocast: bool, tmp_path: Path) -> None:
    with torch.autocast("cpu", torch.bfloat16, autocast):
        seen, told, ones = seen_and_told(tmp_path, ONE, [left], two=False)
        assert told == seen
        seen, told, twos = seen_and_told(tmp_path, TWO, [left], two=True)
        assert told == seen
    assert len(seen) > 1000
    assert {name.strip("_") for name in KEEPING} <= {name.strip("_") for name in ones | twos}


@pytest.mark.parametrize("change", [turned, renewed, written, resized])
def test_a_shape_that_was_changed_in_place_is_asked_again(
    change: Callable[[torch.Tensor], None], tmp_path: Path
) -> None:
    seen, told, _ = seen_and_told(tmp_path, "x * 2; 1 - x", [left, change, left], two=False)
    assert told == seen
    assert len({shape for shape, _ in seen.values()}) > 3
