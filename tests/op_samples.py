"""The samples of torch's operator database, and what comes of each: see `op_db.py`."""

from __future__ import annotations

import contextlib
import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch
from torch.utils._pytree import tree_flatten

DTYPES = (torch.float32, torch.float64)
FEW = 4


@dataclass
class Outcome:
    """Forward and backward of one sample: bits, or how it failed; and its warnings."""

    bits: list[Any] = field(default_factory=list)
    raised: list[Any] | None = None
    warned: list[Any] = field(default_factory=list)

    def versus(self, other: Outcome) -> str:
        """What differs, in short."""
        if self.raised != other.raised:
            return f"raised {self.raised} and {other.raised}"
        if self.warned != other.warned:
            return f"warned {self.warned} and {other.warned}"
        return "bits"


def cases(op: Any, every: bool) -> Iterator[tuple[torch.dtype, int, Any]]:
    """(dtype, number, sample) of one op; the same ones each time."""
    for dtype in DTYPES:
        if not op.supports_dtype(dtype, "cpu"):
            continue
        seed(0)
        grad = op.supports_autograd and dtype in op.supported_backward_dtypes("cpu")
        try:
            samples = op.sample_inputs("cpu", dtype, requires_grad=grad)
            for number, sample in enumerate(samples):
                if not every and number >= FEW:
                    break
                yield dtype, number, sample
        except Exception as error:  # an op that this build lacks
            yield dtype, -1, error


def seed(number: int) -> None:
    """All three of the generators that an op may draw from."""
    torch.manual_seed(number)
    random.seed(number)
    numpy.random.seed(number)


@contextlib.contextmanager
def filled() -> Iterator[None]:
    """Memory that torch hands out is filled: what reads it gives the same bits each time."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def bits(thing: Any) -> list[Any]:
    """Everything in a result, down to the bytes."""
    return [one_bits(one) for one in tree_flatten(thing)[0]]


def one_bits(one: Any) -> Any:
    if not isinstance(one, torch.Tensor):
        return repr(one)
    one = one.detach()
    if one.layout is not torch.strided or one.is_nested or one.is_quantized or one.is_meta:
        return str(one)
    raw = one.resolve_conj().resolve_neg().contiguous().cpu().reshape(-1)
    return one.dtype, tuple(one.shape), tuple(one.stride()), raw.view(torch.uint8).numpy().tobytes()


def outcome_of(op: Any, sample: Any, ties: Any = None) -> Outcome:
    """What comes of one sample; `ties`, if given, looks at the forward alone."""
    found = Outcome()
    if isinstance(sample, Exception):
        found.raised = told_of(sample)
        return found
    seed(1)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            if ties is not None:
                with ties:
                    ties.end(op(sample.input, *sample.args, **sample.kwargs))
            else:
                found.bits = forward_and_backward(op, sample)
        except Exception as error:
            found.raised = told_of(error)
    found.warned = [(one.category, str(one.message), one.filename, one.lineno) for one in warned]
    return found


def forward_and_backward(op: Any, sample: Any) -> list[Any]:
    inputs = [
        t for t in tree_flatten((sample.input, sample.args, sample.kwargs))[0]
        if isinstance(t, torch.Tensor) and t.requires_grad
    ]  # fmt: skip
    result = op(sample.input, *sample.args, **sample.kwargs)
    found = bits(result)
    outputs = [
        t for t in tree_flatten(result)[0] if isinstance(t, torch.Tensor) and t.requires_grad
    ]
    if outputs and inputs:
        ones = [torch.ones_like(out) for out in outputs]
        found += bits(torch.autograd.grad(outputs, inputs, ones, allow_unused=True))
    return found


def told_of(error: BaseException | None) -> list[Any]:
    """An exception, its notes, its causes and contexts, as a program may see them."""
    if error is None:
        return []
    notes = getattr(error, "__notes__", None)
    before = told_of(error.__cause__), told_of(error.__context__)
    return [type(error), str(error), notes, error.__suppress_context__, *before]


def slice_of(ops: list[Any], number: int, seed: int = 0) -> list[Any]:
    """The same few ops each time."""
    return random.Random(seed).sample(ops, number)
