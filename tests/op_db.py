"""torch's own operator database under the tap: `python tests/op_db.py [--all]`.

Every op's CPU samples in float32 and float64, forward and backward, must give the same
bits, the same exceptions and the same warnings with and without recording, and every
node that an op has made must be tied to the row of the very call that made it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from op_samples import cases, filled, outcome_of, slice_of
from op_ties import Ties
from torch.testing._internal.common_methods_invocations import op_db

import gradpm

__all__ = ["Count", "check", "op_db", "slice_of"]

TRIES = 5


@dataclass
class Count:
    """What came of one round over ops."""

    ops: set[str] = field(default_factory=set)
    differentiable: set[str] = field(default_factory=set)
    tied: set[str] = field(default_factory=set)
    samples: int = 0
    raised: int = 0
    nodes: int = 0
    differences: list[str] = field(default_factory=list)
    untied: list[str] = field(default_factory=list)
    filled: Counter[str] = field(default_factory=Counter)  # compared over filled memory, by op
    unsteady: Counter[str] = field(default_factory=Counter)  # differ by themselves even so

    def __str__(self) -> str:
        return (
            f"{len(self.ops)} ops, {self.samples} samples, {self.raised} of which raise: "
            f"{len(self.differences)} differ, {sum(self.filled.values())} compared with "
            f"uninitialised memory filled, {sum(self.unsteady.values())} set aside; "
            f"{len(self.tied)} of {len(self.differentiable)} differentiable ops have all their "
            f"nodes tied ({self.nodes} nodes)"
        )

    def told(self) -> list[str]:
        """Every line that is to be read: what differs, and what was not compared as it is."""
        lines = [*self.differences, *self.untied]
        why = "returns memory that it never writes: compared with that memory filled"
        lines += [f"{name}: {count} samples: {why}" for name, count in sorted(self.filled.items())]
        why = f"{TRIES} plain runs do not agree with each other, seeds fixed and memory filled"
        lines += [f"{n}: {count} samples set aside: {why}" for n, count in self.unsteady.items()]
        return lines


def check(ops: list[Any], *, every: bool) -> Count:
    """Run these ops without and with the tap."""
    count = Count()
    folder = Path(tempfile.mkdtemp())
    torch.set_warn_always(True)  # else only the first of the two runs would be warned
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as samples are made
            for op in ops:
                count.ops.add(op.formatted_name)
                compare(op, every, count, folder)
                tie(op, every, count, folder)
    finally:
        torch.set_warn_always(False)
    loose = {line.split(" ")[0] for line in count.untied}
    count.tied = {name for name in count.differentiable if name not in loose}
    return count


def compare(op: Any, every: bool, count: Count, folder: Path) -> None:
    """Every sample's outcome, plainly and while recording."""
    name = op.formatted_name
    plain = [outcome_of(op, sample) for _, _, sample in cases(op, every)]
    suspects: dict[int, str] = {}
    with gradpm.record(folder / "op.gpm", max_size=8) as recording:
        for at, (dtype, number, sample) in enumerate(cases(op, every)):
            found = outcome_of(op, sample)
            count.samples += 1
            count.raised += found.raised is not None
            if found != plain[at]:
                suspects[at] = f"{name} {dtype} {number}: {plain[at].versus(found)}"
        if not recording._recorder.on:  # type: ignore[union-attr]
            count.differences.append(f"{name}: recording stopped")
    if suspects:
        unsteady = unsteady_of(op, every, plain, set(suspects))
        count.differences += [told for at, told in suspects.items() if at not in unsteady]
        again(op, every, unsteady, count, folder)


def unsteady_of(op: Any, every: bool, plain: list[Any], among: set[int]) -> set[int]:
    """Those samples that do not give the same bits each time without us: empty(), say."""
    unsteady: set[int] = set()
    for _ in range(TRIES):
        litter = [torch.randn(size) for size in (3, 9, 27, 500)]
        for at, (_, _, sample) in enumerate(cases(op, every)):
            if at in among - unsteady and outcome_of(op, sample) != plain[at]:
                unsteady.add(at)
        del litter
    return unsteady


def again(op: Any, every: bool, among: set[int], count: Count, folder: Path) -> None:
    """Compare these samples with the memory that torch leaves as it is filled beforehand."""
    name = op.formatted_name
    with filled():
        plain = [
            outcome_of(op, sample) if at in among else None
            for at, (_, _, sample) in enumerate(cases(op, every))
        ]
        unsteady = unsteady_of(op, every, plain, among)
        with gradpm.record(folder / "op.gpm", max_size=8):
            for at, (dtype, number, sample) in enumerate(cases(op, every)):
                if at not in among:
                    continue
                if at in unsteady:
                    count.unsteady[name] += 1
                elif (found := outcome_of(op, sample)) == plain[at]:
                    count.filled[name] += 1
                else:
                    told = plain[at].versus(found)  # type: ignore[union-attr]
                    count.differences.append(f"{name} {dtype} {number}, filled: {told}")


def tie(op: Any, every: bool, count: Count, folder: Path) -> None:
    """Is every node of a sample's result tied to the row of the call that made it?"""
    name = op.formatted_name
    with gradpm.record(folder / "op.gpm", max_size=8) as recording:
        for dtype, number, sample in cases(op, every):
            ties = Ties(recording._recorder)
            outcome_of(op, sample, ties)
            if ties.nodes:
                count.differentiable.add(name)
                count.nodes += ties.nodes
            if ties.loose:
                count.untied.append(f"{name} {dtype} {number}: {ties.loose[:3]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="every sample of every op")
    parser.add_argument("--only", help="ops whose names contain this")
    arguments = parser.parse_args()
    ops = [op for op in op_db if not arguments.only or arguments.only in op.formatted_name]
    began = time.time()
    count = check(ops, every=arguments.all)
    print(*count.told(), sep="\n")
    print(f"{count} in {time.time() - began:.0f} s")
    return int(bool(count.differences or count.untied))


if __name__ == "__main__":
    sys.exit(main())
