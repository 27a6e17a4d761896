"""Where tracked results end: which ops made something that nothing took further, by parameter.

Thousands of parameters may ask, and most of them stand behind the same ops. So the last end
behind each op is found for all at once, from the ends back; only the rare parameter that is
itself an op's result is followed forward by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property

from gradpm.diagnose.facts import Facts
from gradpm.diagnose.op_names import is_use
from gradpm.diagnose.ops import LAST
from gradpm.trace.schema import Op

_TRACKED = int(Op.OUT_REQUIRES)
_BESIDE = int(Op.IN_STEP | Op.SETTER)


class Ends:
    """The ends of tracked results."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self._flags = facts.op_flags

    def last(self, serial: int) -> int:
        """The last op made of a parameter whose result nothing took further; -1 for none."""
        if not self.facts.users.get(serial):
            return -1
        if self.is_made(serial):
            return max(self.all(serial), default=-1)
        return self.last_behind(serial, self._last)

    def all(self, serial: int) -> list[int]:
        """The rows of all such ops."""
        users = self.facts.users
        queue, seen = [serial], {serial}
        found: list[int] = []
        while queue:
            at = queue.pop()
            for row in self._uses(serial) if at == serial else users.get(at, ()):
                if not self._goes_through(row):
                    continue
                outs = self._outs(row)
                if not self.goes_on(outs, row):
                    found.append(row)
                for out in outs:
                    if out not in seen:
                        seen.add(out)
                        queue.append(out)
        return found

    def goes_on(self, outs: Iterable[int], row: int) -> bool:
        """Whether something tracked was made of what came out of an op."""
        users, flags = self.facts.users, self._flags
        return any(
            later > row and flags[later] & _TRACKED for out in outs for later in users.get(out, ())
        )

    def behind(self, ends: Iterable[int]) -> dict[int, int]:
        """For each op from which some of these ends can be reached, the last of them."""
        starts, ins, *_ = self.facts.ragged
        makers = self._makers
        found: dict[int, int] = {}
        for end in sorted(ends, reverse=True):
            queue = [end]
            while queue:
                row = queue.pop()
                if row not in found:
                    found[row] = end
                    for serial in ins[starts[row] : starts[row + 1]]:
                        queue += (maker for maker in makers.get(serial, ()) if maker not in found)
        return found

    def last_behind(self, serial: int, known: dict[int, int]) -> int:
        """The last of the ends `behind` was asked about, for a parameter; -1 for none."""
        return max((known.get(row, -1) for row in self._uses(serial)), default=-1)

    def is_made(self, serial: int) -> bool:
        """Whether a way may lead back to it, so that it must be followed by itself.

        What makes or fills a parameter (`Parameter`, `uniform_`) is no use of it, and takes in
        nothing but it or what was tracked nowhere.
        """
        makers = self._makers
        return any(
            other != serial and other in makers
            for row in makers.get(serial, ())
            for other in self._ins(row)
        )

    @cached_property
    def scalars(self) -> dict[int, tuple[int, ...]]:
        """Ends that are scalars of before the last engine call: those on which none was called."""
        facts = self.facts
        roots = {root for call in facts.backwards for root in call.roots}
        horizon = max((call.op for call in facts.backwards), default=LAST)
        found = {}
        for row, (op_id, flags) in enumerate(zip(facts.trace.op_ids, self._flags, strict=True)):
            if flags & _TRACKED and op_id <= horizon and self._is_scalar(row):
                outs = self._outs(row)
                if not self.goes_on(outs, row):
                    found[row] = tuple(out for out in outs if out not in roots)
        return found

    @cached_property
    def behind_scalars(self) -> dict[int, int]:
        """For each op from which such a scalar can be reached, the last of them."""
        return self.behind(row for row in self.scalars if self._goes_through(row))

    def _is_scalar(self, row: int) -> bool:
        _, _, starts, _, specs, _ = self.facts.ragged
        first = starts[row]
        return first < starts[row + 1] and not self.facts.trace.spec(specs[first]).shape

    @cached_property
    def _last(self) -> dict[int, int]:
        rows = range(self.facts.op_count)
        return self.behind(
            row
            for row in rows
            if self._goes_through(row) and not self.goes_on(self._outs(row), row)
        )

    @cached_property
    def _makers(self) -> dict[int, list[int]]:
        """The tracked rows out of which each serial came."""
        _, _, starts, outs, _, _ = self.facts.ragged
        found: dict[int, list[int]] = {}
        for row, flags in enumerate(self._flags):
            if flags & _TRACKED and not flags & _BESIDE:
                for out in outs[starts[row] : starts[row + 1]]:
                    known = found.get(out)
                    if known is None:
                        found[out] = [row]
                    else:
                        known.append(row)
        return found

    def _uses(self, serial: int) -> Iterator[int]:
        """The tracked rows that a parameter itself goes into."""
        for row in self.facts.users.get(serial, ()):
            if self._goes_through(row) and is_use(self.facts.op(row), serial):
                yield row

    def _goes_through(self, row: int) -> bool:
        flags = self._flags[row]
        return flags & _TRACKED != 0 and not flags & _BESIDE

    def _outs(self, row: int) -> tuple[int, ...]:
        _, _, starts, outs, _, _ = self.facts.ragged
        return tuple(outs[starts[row] : starts[row + 1]])

    def _ins(self, row: int) -> tuple[int, ...]:
        starts, ins, *_ = self.facts.ragged
        return tuple(ins[starts[row] : starts[row + 1]])
