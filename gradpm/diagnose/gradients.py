"""What each engine call left in `.grad`: by column, since a long run has hundreds of thousands.

A call's gradients look like a dict of rows by leaf, but a row is decoded only when it is asked
for; what is asked of all rows is read off the columns.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, compress, repeat
from typing import TYPE_CHECKING, Any

from gradpm.diagnose.stretches import stretches
from gradpm.trace.schema import GradState, Leaf, Table

if TYPE_CHECKING:
    from gradpm.diagnose.backwards import Backward
    from gradpm.trace.model import Trace

# Plain numbers: an enum's own `&` takes ten times as long, and rules ask for each row's flags.
REQUIRES, FRESH, HELD = int(Leaf.REQUIRES), int(Leaf.FRESH), int(Leaf.HELD)
_REACHED = int(Leaf.REACHED)
COLUMNS = (
    "backward", "leaf", "state", "flags", "version", "norm", "absmax", "nan", "inf", "zero",
)  # fmt: skip
SOME = (GradState.FINITE, GradState.NAN, GradState.INF, GradState.SPARSE, GradState.UNREAD)
_NOTHING = (GradState.NONE, GradState.ZERO)
_IS_SOME = bytes(state not in _NOTHING for state in range(256))  # what is not known is unread
_STATES = {int(state): state for state in GradState}


@dataclass(slots=True)
class GradRow:
    """A leaf's gradient right after one engine call."""

    backward: int
    leaf: int
    state: GradState
    flags: int
    version: int
    norm: float
    absmax: float
    nan: int
    inf: int
    zero: float

    @property
    def requires(self) -> bool:
        """Whether the leaf required grad then."""
        return self.flags & REQUIRES != 0

    @property
    def fresh(self) -> bool:
        """Whether this call changed the gradient."""
        return self.flags & FRESH != 0

    @property
    def held(self) -> bool:
        """Whether it was already there, untouched and not zero, as the engine started."""
        return self.flags & HELD != 0

    @property
    def reached(self) -> bool:
        """Whether the graph that was read has a node for this leaf."""
        return self.flags & _REACHED != 0


class Grads(Mapping[int, GradRow]):
    """The gradients right after one engine call, by leaf."""

    __slots__ = ("_places", "_table", "first")

    def __init__(self, table: Gradients, first: int, places: dict[int, int]) -> None:
        self._table = table
        self.first = first  # row of the table
        self._places = places  # leaf -> rows after the first

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[int]:
        return iter(self._places)

    def __contains__(self, leaf: object) -> bool:
        return leaf in self._places

    def __getitem__(self, leaf: int) -> GradRow:
        return self._table.row(self.first + self._places[leaf])

    def is_fresh(self, leaf: int) -> bool:
        """Whether this call changed the leaf's gradient."""
        at = self._places.get(leaf)
        return at is not None and self._table.flags[self.first + at] & FRESH != 0

    @property
    def rows(self) -> slice:
        """Where the call's rows stand in each of the table's columns."""
        return slice(self.first, self.first + len(self._places))


class Gradients:
    """The table of gradients, call by call in rising order, and each leaf once in a call."""

    def __init__(self, trace: Trace, calls: Sequence[Backward]) -> None:
        """Read it for these calls, which are in the order of their numbers."""
        self._calls = calls
        columns = trace.table(Table.GRAD)
        self._columns: dict[str, Any] = {name: columns[name] for name in COLUMNS}
        self._number = {call.number: at for at, call in enumerate(calls)}
        self._starts = self._ordered() or self._put_in_order()
        self.leaves, self.states = self._columns["leaf"], self._columns["state"]
        self.flags, self.norms = self._columns["flags"], self._columns["norm"]
        self.numbers, self.versions = self._columns["backward"], self._columns["version"]

    def row(self, at: int) -> GradRow:
        """One row, decoded."""
        number, leaf, state, *rest = [column[at] for column in self._columns.values()]
        return GradRow(number, leaf, _STATES.get(state, GradState.UNREAD), *rest)

    def hand_out(self) -> None:
        """Give each call its gradients."""
        layouts: dict[bytes, dict[int, int]] = {}
        for call in self._calls:
            call.grads = Grads(self, 0, {})
        for number, (first, end) in self._starts.items():
            leaves = self.leaves[first:end]
            key = leaves.tobytes()  # nearly always those of the call before
            places = layouts.get(key)
            if places is None:
                places = layouts[key] = dict(zip(leaves, range(end - first), strict=True))
            self._calls[self._number[number]].grads = Grads(self, first, places)

    def call(self, row: int) -> Backward:
        """The engine call after which a row was read."""
        return self._calls[self._owners[row]]

    @cached_property
    def fed(self) -> dict[int, Sequence[int]]:
        """By leaf, the rows in which a call that fills `.grad` and did not raise changed it."""
        fills, owners, leaves = self._fills, self._owners, self.leaves
        found: dict[int, list[int]] = {}
        for row in compress(range(len(leaves)), map(FRESH.__and__, self.flags)):
            if fills[owners[row]]:
                known = found.get(leaves[row])
                if known is None:
                    found[leaves[row]] = [row]
                else:
                    known.append(row)
        return {leaf: array("I", rows) for leaf, rows in found.items()}

    @cached_property
    def ever_some(self) -> set[int]:
        """The leaves that a call which fills `.grad` left with more than zeros, new or old."""
        fills, owners, leaves = self._fills, self._owners, self.leaves
        rows = compress(range(len(leaves)), self.states.tobytes().translate(_IS_SOME))
        return {leaves[row] for row in rows if fills[owners[row]]}

    @cached_property
    def ever_held(self) -> set[int]:
        """The leaves whose gradient was there, untouched and not zero, as some call started."""
        return set(compress(self.leaves, map(HELD.__and__, self.flags)))

    def calls_that_fed(self, leaf: int) -> list[Backward]:
        """The calls that gave this leaf a gradient, in order."""
        owners = self._owners
        return [self._calls[owners[row]] for row in self.fed.get(leaf, ())]

    def given(self, leaf: int) -> list[GradRow]:
        """What these calls gave it."""
        return [self.row(row) for row in self.fed.get(leaf, ())]

    def finite(self, leaf: int) -> list[int]:
        """The rows of what it was given that is neither zero nor bad."""
        states, norms, wanted = self.states, self.norms, int(GradState.FINITE)
        rows = self.fed.get(leaf, ())
        return [row for row in rows if states[row] == wanted and norms[row] > 0.0]

    @cached_property
    def _fills(self) -> list[bool]:
        """Of each call, whether it fills `.grad` and did not raise."""
        return [not call.is_grad_call and not call.raised for call in self._calls]

    @cached_property
    def _owners(self) -> array[int]:
        """Which of the calls each row belongs to."""
        lengths = (
            repeat(self._number[number], end - first)
            for number, (first, end) in self._starts.items()
        )
        return array("I", chain.from_iterable(lengths))

    def _ordered(self) -> dict[int, tuple[int, int]] | None:
        """First row and row after the last of each call; None where rows have to be moved.

        A call inside another one ends first, and so do its rows; a damaged trace has any order.
        """
        found = stretches(self._columns["backward"])
        numbers = list(found)
        total = sum(end - first for first, end in found.values())
        if numbers != sorted(numbers) or not self._number.keys() >= found.keys():
            return None
        if total != len(self._columns["backward"]):
            return None  # another call's rows stand between some of these
        leaves, seen = self._columns["leaf"], set()
        for first, end in found.values():
            part = leaves[first:end]
            key = part.tobytes()
            if key not in seen:
                seen.add(key)
                if len(set(part)) != end - first:
                    return None
        return found

    def _put_in_order(self) -> dict[int, tuple[int, int]]:
        """Sort the rows by call; of two for one leaf the later counts."""
        rows: dict[int, dict[int, int]] = {}
        pairs = zip(self._columns["backward"], self._columns["leaf"], strict=True)
        for row, (number, leaf) in enumerate(pairs):
            if number in self._number:
                rows.setdefault(number, {})[leaf] = row
        order = [row for number in sorted(rows) for row in rows[number].values()]
        self._columns = {
            name: array(column.typecode, map(column.__getitem__, order))
            for name, column in self._columns.items()
        }
        return stretches(self._columns["backward"])
