"""torch's own operator database under the tap: `python tests/op_db.py [--all]`.

Every op's CPU samples in float32 and float64, forward and backward, must give the same
bits and the same exceptions with and without recording, and every node that an op has
made must be tied to a row of that op's own call.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils._pytree import tree_flatten

import gradpm

DTYPES = (torch.float32, torch.float64)
FEW = 4
TRIES = 5


@dataclass
class Count:
    """What came of one round over ops."""

    ops: set[str] = field(default_factory=set)
    differentiable: set[str] = field(default_factory=set)
    tied: set[str] = field(default_factory=set)
    samples: int = 0
    nodes: int = 0
    differences: list[str] = field(default_factory=list)
    untied: list[str] = field(default_factory=list)
    unsteady: list[str] = field(default_factory=list)  # differ from run to run by themselves

    def __str__(self) -> str:
        return (
            f"{len(self.ops)} ops, {self.samples} samples: "
            f"{len(self.differences)} differ, {len(self.unsteady)} never give the same bits; "
            f"{len(self.tied)} of {len(self.differentiable)} differentiable ops have all their "
            f"nodes tied ({self.nodes} nodes)"
        )


def cases(op: Any, every: bool) -> Iterator[tuple[torch.dtype, int, Any]]:
    """(dtype, number, sample) of one op; the same ones each time."""
    for dtype in DTYPES:
        if not op.supports_dtype(dtype, "cpu"):
            continue
        torch.manual_seed(0)
        grad = op.supports_autograd and dtype in op.supported_backward_dtypes("cpu")
        try:
            samples = op.sample_inputs("cpu", dtype, requires_grad=grad)
            for number, sample in enumerate(samples):
                if not every and number >= FEW:
                    break
                yield dtype, number, sample
        except Exception as error:  # an op that this build lacks
            yield dtype, -1, error


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


def outcome(op: Any, sample: Any, ties: Any = None) -> list[Any]:
    """Forward and backward of one sample: bits, or how it failed."""
    torch.manual_seed(1)
    inputs = [
        t for t in tree_flatten((sample.input, sample.args, sample.kwargs))[0]
        if isinstance(t, torch.Tensor) and t.requires_grad
    ]  # fmt: skip
    try:
        begun = ties.begin() if ties is not None else 0
        result = op(sample.input, *sample.args, **sample.kwargs)
        if ties is not None:
            ties.end(result, begun)
        found = bits(result)
        outputs = [
            t for t in tree_flatten(result)[0] if isinstance(t, torch.Tensor) and t.requires_grad
        ]
        if outputs and inputs:
            ones = [torch.ones_like(out) for out in outputs]
            found += bits(torch.autograd.grad(outputs, inputs, ones, allow_unused=True))
        return found
    except Exception as error:
        return [type(error), str(error)]


class Ties:
    """Which nodes of a call's result are numbered within a row of that call."""

    def __init__(self, recorder: Any) -> None:
        self.recorder = recorder
        self.nodes = 0
        self.loose: list[str] = []

    def begin(self) -> int:
        self.recorder.ops.clear()
        return int(torch._C._autograd._get_sequence_nr())

    def end(self, result: Any, begun: int) -> None:
        rows = self.recorder.ops
        counters = rows.fixed[5 :: rows.width]
        last = max(counters, default=begun)
        queue = [t.grad_fn for t in tree_flatten(result)[0] if isinstance(t, torch.Tensor)]
        seen: set[Any] = set()
        while queue:
            node = queue.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            queue += [child for child, _ in node.next_functions]
            number = node._sequence_nr()
            if begun <= number < 1 << 62:
                self.nodes += 1
                if number >= last:
                    self.loose.append(node.name())


def check(ops: list[Any], *, every: bool) -> Count:
    """Run these ops without and with the tap."""
    count = Count()
    folder = tempfile.mkdtemp()
    for op in ops:
        name = op.formatted_name
        count.ops.add(name)
        plain = [outcome_of(op, sample) for _, _, sample in cases(op, every)]
        suspects: dict[int, str] = {}
        with gradpm.record(Path(folder) / "op.gpm", max_size=8) as recording:
            recorder: Any = recording._recorder
            for at, (dtype, number, sample) in enumerate(cases(op, every)):
                ties = Ties(recorder)
                count.samples += 1
                if outcome_of(op, sample, ties) != plain[at]:
                    suspects[at] = f"{name} {dtype} {number}"
                if ties.nodes:
                    count.differentiable.add(name)
                    count.nodes += ties.nodes
                if ties.loose:
                    count.untied.append(f"{name} {dtype} {number}: {ties.loose[:3]}")
            if not recorder.on:
                count.differences.append(f"{name}: recording stopped")
        steady = is_steady(op, every, plain, suspects)
        count.differences += [suspects[at] for at in suspects if at in steady]
        count.unsteady += [suspects[at] for at in suspects if at not in steady]
    loose = {line.split(" ")[0] for line in count.untied}
    count.tied = {name for name in count.differentiable if name not in loose}
    return count


def is_steady(op: Any, every: bool, plain: list[Any], suspects: dict[int, str]) -> set[int]:
    """Those of the suspects that give the same bits each time without us: not empty(), say."""
    steady = set(suspects)
    for _ in range(TRIES if suspects else 0):
        litter = [torch.randn(size) for size in (3, 9, 27, 500)]
        for at, (_, _, sample) in enumerate(cases(op, every)):
            if at in steady and outcome_of(op, sample) != plain[at]:
                steady.discard(at)
        del litter
    return steady


def outcome_of(op: Any, sample: Any, ties: Any = None) -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [str(sample)] if isinstance(sample, Exception) else outcome(op, sample, ties)


def slice_of(ops: list[Any], number: int, seed: int = 0) -> list[Any]:
    """The same few ops each time."""
    return random.Random(seed).sample(ops, number)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="every sample of every op")
    parser.add_argument("--only", help="ops whose names contain this")
    arguments = parser.parse_args()
    ops = [op for op in op_db if not arguments.only or arguments.only in op.formatted_name]
    began = time.time()
    count = check(ops, every=arguments.all)
    print(*count.differences, *count.untied, sep="\n")
    print(f"{count} in {time.time() - began:.0f} s")
    return int(bool(count.differences or count.untied))


if __name__ == "__main__":
    sys.exit(main())
