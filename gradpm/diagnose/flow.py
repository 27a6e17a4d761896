"""The flow of values: from parameters forward through every op, tracked or not.

Each parameter of interest owns one bit. Going once through the op rows, every
serial gets three sets of bits: `tracked`, those whose gradient can still come back
from here; `lost`, those whose value is in here although tracking stopped, each
with the row where it stopped first; `frozen`, those that did not require grad when
they went in. What stands at a backward's roots tells who gets a gradient and, for
the rest, which line is to blame.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from gradpm.diagnose.backwards import Backward
from gradpm.diagnose.facts import Facts
from gradpm.diagnose.losing import NONE_LOST, Lost, united
from gradpm.diagnose.op_names import NO_USE, NO_VALUE, SWITCHES, TEMPLATED, VIEWS, is_mutating
from gradpm.diagnose.ops import LAST
from gradpm.diagnose.passing import Rows
from gradpm.diagnose.transfer import Transfer
from gradpm.trace.schema import Table

PART = 256  # rows that are passed by together where none of them matters
SPECIAL = SWITCHES | NO_VALUE | {"checkpoint"}  # they count even where nothing of interest goes in


@dataclass(slots=True)
class AtRoot:
    """What stands at the roots of one engine call."""

    number: int
    tracked: int = 0
    lost: Lost = field(default_factory=dict)
    frozen: int = 0


class Flow(Transfer):
    """One pass over the rows for a set of parameters; read the results after `run`."""

    def __init__(self, facts: Facts, serials: Iterable[int]) -> None:
        super().__init__(facts, serials)
        self.roots: dict[int, AtRoot] = {}
        self._waiting: list[Backward] = []  # calls whose roots were not looked at, the next last

    def run(self) -> Flow:
        """Go through all rows; the state at each engine call is kept in `roots`."""
        self._start()
        self._waiting = sorted(self.facts.backwards, key=attrgetter("op"))[::-1]
        self.horizon = self._waiting[0].op if self._waiting else LAST
        links = self._links()
        rows = Rows(self.facts, SPECIAL, _is_plain)
        known = (self.tracked, self.lost, self.frozen)
        for first in range(0, self.facts.op_count, PART):
            part = range(first, min(first + PART, self.facts.op_count))
            if not rows.pass_by(part, known, links):
                self._go(rows, part, links)
        self._catch_up(LAST)
        return self

    def _go(self, rows: Rows, part: range, links: dict[int, list[tuple[int, int]]]) -> None:
        """Through some of the rows, one by one."""
        tracked, lost, frozen, bits = self.tracked, self.lost, self.frozen, self.bit
        due = self._waiting[-1].op if self._waiting else LAST
        for row, (op_id, taken, made, plain, odd) in enumerate(rows.of(part), part.start):
            if due <= op_id:
                due = self._catch_up(op_id)
            for serial in taken:
                if serial in tracked or serial in lost or serial in frozen:
                    if plain and rows.makes_tracked(row, taken, made):
                        self._pass_on(rows, row, op_id, taken, made)
                    else:
                        self.step(self.facts.op(row))
                    break
            else:
                if odd:
                    self.step(self.facts.op(row))
                else:
                    for out in made:
                        known = out in tracked or out in lost or out in frozen
                        if known and out not in bits and out not in taken:
                            self._clear(out)
            if op_id in links:
                self._come_back(self.facts.op(row), links[op_id])

    def _catch_up(self, op_id: int) -> int:
        """Keep what stands at the roots of the calls made by then; when the next one is due."""
        while self._waiting and self._waiting[-1].op <= op_id:
            call = self._waiting.pop()
            self._snapshot(call.number, call.roots)
        return self._waiting[-1].op if self._waiting else LAST

    def _links(self) -> dict[int, list[tuple[int, int]]]:
        columns = self.facts.trace.table(Table.LINK)
        found: dict[int, list[tuple[int, int]]] = {}
        rows = zip(columns["op"], columns["source"], columns["how"], strict=True)
        for op, source, how in rows:
            found.setdefault(op, []).append((source, how))
        return found

    def _snapshot(self, number: int, roots: Sequence[int]) -> None:
        state = AtRoot(number)
        for root in roots:
            state.tracked |= self.tracked.get(root, 0)
            state.frozen |= self.frozen.get(root, 0)
        state.lost = united((self.lost.get(root, NONE_LOST) for root in roots), self._kinds)
        self.roots[number] = state

    def escapes(self, serial: int) -> bool:
        """Whether the parameter's own value left torch before the last engine call."""
        bit = self.bit[serial]
        return any(
            bits & bit and self.facts.op(row).id <= self.horizon
            for row, bits in self.escaped.items()
        )

    def named(self, bits: int) -> list[int]:
        """The serials that own these bits."""
        return [serial for serial, bit in self.bit.items() if bit & bits]


def _is_plain(name: str) -> bool:
    """Whether an op of this name only makes something new of the values that go in."""
    odd = name in VIEWS or name in TEMPLATED or name in SPECIAL or name in NO_USE
    return not (odd or is_mutating(name))
