"""Where values lost their history: sets of rows and bits that stay small however long a run is.

A loop that cuts on one line loses at a row of its own in every round, and what it hands on holds
all of them. Rules ask for the first row of a place, and for the calls whose roots hold any, so of
rows that are alike (`Kinds.of`) only these are kept: the first; and, of those that ran between
the same two engine calls as the last, the first. Each that goes says nothing that these do not.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable

from gradpm.diagnose.facts import Facts
from gradpm.trace.schema import Out

Lost = dict[int, int]  # row where tracking stopped -> bits; never changed once it is handed out
FEW = 16  # rows that are kept without a look at them

NONE_LOST: Lost = {}


class Kinds:
    """Which rows are the same cut, made again."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._known: dict[int, object] = {}
        self._calls = sorted(call.op for call in facts.backwards)

    def of(self, row: int) -> object:
        """Equal for rows of the same stack, op, circumstances and kinds of results."""
        found = self._known.get(row)
        if found is None:
            op = self._facts.op(row)
            leaves = tuple(flags & Out.LEAF for flags in op.oflags)
            dtypes = tuple(self._facts.trace.spec(spec).dtype for spec in op.specs)
            found = self._known[row] = (op.frame, op.name, op.flags, leaves, dtypes)
        return found

    def between(self, row: int) -> int:
        """How many engine calls had begun."""
        return bisect.bisect_right(self._calls, self._facts.trace.op_ids[row])


def united(several: Iterable[Lost], kinds: Kinds) -> Lost:
    """All that is lost in any of these; a bit lost in several places is kept at each."""
    found, own = NONE_LOST, False
    for one in several:
        if not found:
            found = one
        elif one is not found and one:
            if not own:
                found, own = dict(found), True
            for row, bits in one.items():
                found[row] = found.get(row, 0) | bits
    return _thinned(found, kinds) if own and len(found) > FEW else found


def also_lost(lost: Lost, row: int, bits: int, kinds: Kinds) -> Lost:
    """The same, with what is lost at one more row."""
    found = dict(lost)
    found[row] = found.get(row, 0) | bits
    return _thinned(found, kinds) if len(found) > FEW else found


def _thinned(lost: Lost, kinds: Kinds) -> Lost:
    """Without the rows that others of their kind stand for."""
    alike: dict[object, list[int]] = {}
    for row in lost:
        alike.setdefault(kinds.of(row), []).append(row)
    if len(alike) == len(lost):
        return lost
    gone: set[int] = set()
    for rows in alike.values():
        if len(rows) > 1:
            gone.update(_spared(lost, sorted(rows), kinds))
    return {row: bits for row, bits in lost.items() if row not in gone} if gone else lost


def _spared(lost: Lost, rows: list[int], kinds: Kinds) -> list[int]:
    """Those of rows of one kind that can go."""
    first, newest = rows[0], kinds.between(rows[-1])
    last = next(row for row in rows if kinds.between(row) == newest)
    kept = lost[first] & lost[last]
    return [row for row in rows if row not in (first, last) and not lost[row] & ~kept]
