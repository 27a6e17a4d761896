"""What became of each parameter's gradient over a run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from statistics import median

from gradpm.trace.model import Trace
from gradpm.trace.schema import Call, GradState, Leaf, LeafKind, Table

_CALLS = 2_000  # of the engine's, whose norms are held against each other: enough for a median


class Fate(Enum):
    """The best that a parameter's `.grad` was after any engine call that fills it."""

    UNSEEN = "unseen"  # no engine call saw it
    FROZEN = "frozen"  # it never required grad
    NONE = "none"
    ZERO = "zero"  # never anything but zeros
    NONFINITE = "nonfinite"  # NaN or Inf at least once
    GRADIENT = "gradient"

    @property
    def arrived(self) -> bool:
        """Whether there was a gradient to learn from at all."""
        return self in (Fate.NONFINITE, Fate.GRADIENT)


_BAD = 1 << GradState.NAN | 1 << GradState.INF
_GOOD = 1 << GradState.FINITE | 1 << GradState.SPARSE | 1 << GradState.UNREAD


@dataclass(slots=True)
class Gradients:
    """One parameter over all engine calls that fill `.grad`."""

    name: str
    path: str  # the name without the variable that holds the model
    shape: tuple[int, ...]
    states: int = 0  # bits, by GradState
    required: bool = False
    norms: dict[int, float] = field(default_factory=dict)  # by the how-manieth call it was

    @property
    def fate(self) -> Fate:
        """What became of it."""
        if not self.required:
            return Fate.FROZEN if self.states else Fate.UNSEEN
        if self.states & _BAD:
            return Fate.NONFINITE
        if self.states & _GOOD:
            return Fate.GRADIENT
        return Fate.ZERO if self.states & 1 << GradState.ZERO else Fate.NONE

    def norm(self, calls: int) -> float:
        """The median of the norms that are above zero within the first calls; 0 for none."""
        known = [norm for at, norm in self.norms.items() if at < calls]
        return median(known) if known else 0.0


def read_gradients(trace: Trace) -> dict[str, Gradients]:
    """Every parameter, and every other leaf that an optimizer owns, by name."""
    by_serial: dict[int, Gradients] = {}
    for serial, leaf in trace.leaves.items():
        name = trace.name(serial) or _made(trace, leaf.frame)
        if leaf.kind is not LeafKind.BUFFER and name:
            known = trace.names.get(serial) or [("", name)]
            by_serial[serial] = Gradients(name, known[0][1], leaf.spec.shape)
    owned = _fill(trace, by_serial)
    found: dict[str, Gradients] = {}
    for serial, one in by_serial.items():
        if serial in owned or trace.leaves[serial].kind is LeafKind.PARAMETER:
            _join(found.setdefault(one.name, one), one)
    return found


def _made(trace: Trace, frame: int) -> str:
    """What stands for the name of a parameter that has none; empty when nothing does."""
    place = trace.user_frame(frame)
    if place is None or not place.line:
        return ""
    lines = trace.source_lines(place.path)
    return f"made by `{lines[place.line - 1].strip()}`" if place.line <= len(lines) else ""


def _fill(trace: Trace, by_serial: dict[int, Gradients]) -> set[int]:
    """Put every row of the table into its parameter; the serials that an optimizer owns."""
    calls = _filling(trace)
    columns = trace.table(Table.GRAD)
    owned: set[int] = set()
    names = ("backward", "leaf", "state", "flags", "norm")
    optimized, requires = int(Leaf.OPTIMIZED), int(Leaf.REQUIRES)
    for number, serial, state, flags, norm in zip(*(columns[n] for n in names), strict=True):
        one = by_serial.get(serial)
        at = calls.get(number, -1)
        if one is None or at < 0:
            continue
        one.states |= 1 << state if state <= GradState.UNREAD else 0
        if flags & requires:
            one.required = True
        if flags & optimized:
            owned.add(serial)
        if 0 < norm < math.inf and at < _CALLS:
            one.norms[at] = norm
    return owned


def _filling(trace: Trace) -> dict[int, int]:
    """The calls that fill `.grad`, by number: the how-manieth each of them was."""
    columns = trace.table(Table.BACKWARD)
    rest = int(Call.GRAD_CALL | Call.RAISED)
    pairs = zip(columns["number"], columns["flags"], strict=True)
    return {number: at for at, number in enumerate(sorted(n for n, f in pairs if not f & rest))}


def _join(known: Gradients, one: Gradients) -> None:
    """A parameter that was made anew under the same name goes on where the first ended."""
    if known is not one:
        known.states |= one.states
        known.required |= one.required
        for at, norm in one.norms.items():
            known.norms.setdefault(at, norm)
