"""All backwards as a timeline."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradpm.diagnose.finding import Finding
from gradpm.trace.model import Trace
from gradpm.trace.schema import Call, GradState, Table
from gradpm.tui.graph import Array, column


@dataclass(slots=True)
class Timeline:
    """One entry per engine call, in the order in which they began."""

    number: list[int]
    loss: list[float]  # NaN where it was not read or is NaN: see `flags`
    norm: list[float]  # over all leaves; NaN where one is NaN or Inf
    none: list[int]
    bad: list[int]  # NaN or Inf
    zero: list[int]
    flags: list[int]
    step: list[int]
    frame: list[int]
    verdict: list[str]  # codes of what was seen first in this call
    changed: list[bool]  # how many leaves are None, bad or zero differs from the call before

    def __len__(self) -> int:
        return len(self.number)

    def row_of(self, number: int) -> int:
        """The entry of a backward's number; the nearest where it is not there."""
        return min(range(len(self)), key=lambda row: abs(self.number[row] - number), default=0)


def read_timeline(trace: Trace, findings: tuple[Finding, ...]) -> Timeline:
    """Read the timeline; sums over leaves are done per call in one pass."""
    order = np.argsort(column(trace, Table.BACKWARD, "number"), kind="stable")

    def part(name: str) -> Array:
        return column(trace, Table.BACKWARD, name)[order]

    numbers, flags = part("number").astype(np.int64), part("flags")
    loss = (
        np.where(flags & int(Call.LOSS), part("loss"), math.nan) if len(numbers) else part("loss")
    )
    at = np.searchsorted(numbers, column(trace, Table.GRAD, "backward"))
    state = column(trace, Table.GRAD, "state")
    known = at < len(numbers)
    norm = np.where(
        np.isin(state, (GradState.FINITE, GradState.SPARSE)), column(trace, Table.GRAD, "norm"), 0
    )

    def per_call(values: Array) -> Array:
        return np.bincount(at[known], values[known].astype(float), minlength=len(numbers))

    none = per_call(state == GradState.NONE)
    bad = per_call((state == GradState.NAN) | (state == GradState.INF))
    zero = per_call(state == GradState.ZERO)
    verdict = np.stack([none, bad, zero])
    changed = np.zeros(len(numbers), np.bool_)
    changed[1:] = np.any(verdict[:, 1:] != verdict[:, :-1], axis=0)
    return Timeline(
        number=numbers.tolist(),
        loss=loss.tolist(),
        norm=np.where(bad > 0, math.nan, np.sqrt(per_call(norm**2))).tolist(),
        none=none.astype(int).tolist(),
        bad=bad.astype(int).tolist(),
        zero=zero.astype(int).tolist(),
        flags=flags.tolist(),
        step=part("step").tolist(),
        frame=part("frame").tolist(),
        verdict=_verdicts(numbers.tolist(), findings),
        changed=changed.tolist(),
    )


def _verdicts(numbers: list[int], findings: tuple[Finding, ...]) -> list[str]:
    codes: dict[int, list[str]] = {}
    for finding in findings:
        if finding.backward is not None:
            codes.setdefault(finding.backward - 1, []).append(finding.code)
    return [" ".join(dict.fromkeys(codes.get(number, ()))) for number in numbers]
