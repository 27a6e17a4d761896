"""Which op rows only hand on what they take in: told by columns, since most rows do just that."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from operator import and_, or_

from gradpm.diagnose.facts import Facts
from gradpm.trace.schema import Op, Out

_applied = int(Op.FUNCTION).__and__
_FORWARD = int(Op.GRAD_ENABLED | Op.OUT_REQUIRES)
_ODD = int(Op.FUNCTION | Op.LEFT | Op.IN_STEP | Op.IN_OPTIM | Op.RAISED | Op.SETTER | Op.UNSEEN)
_TRACKED, _KINDS = int(Out.REQUIRES), int(Out.REQUIRES | Out.LEAF)
_IS_KEPT = bytes(flags & _KINDS == _TRACKED for flags in range(256))


class Rows:
    """The op table by columns.

    `special` names ops that count even where nothing of interest goes in; `is_plain` tells of a
    name whether such an op only makes something new of the values that it is given.
    """

    def __init__(
        self, facts: Facts, special: Container[str], is_plain: Callable[[str], bool]
    ) -> None:
        self._ids = facts.trace.op_ids
        self._names, self._flags = facts.op_names, facts.op_flags
        self._in_starts, self._ins, self._out_starts, self._outs, _, self._oflags = facts.ragged
        self._special = facts.named(special)
        string = facts.trace.string
        self._plain = {name for name in set(self._names) if is_plain(string(name))}
        self._even = {flags for flags in set(self._flags) if not flags & _ODD}
        self._kept = self._oflags.tobytes().translate(_IS_KEPT)
        self._applied = {flags for flags in set(self._flags) if _applied(flags)}

    def pass_by(
        self, part: range, known: Iterable[Mapping[int, object]], links: Mapping[int, object]
    ) -> bool:
        """Whether nothing known goes in or comes out of these rows, and none is special or linked.

        Told of all of them at once: a program that evaluates has long stretches of such rows.
        """
        here = slice(part.start, part.stop)
        first, end = self._in_starts[part.start], self._in_starts[part.stop]
        begin, until = self._out_starts[part.start], self._out_starts[part.stop]
        ins, outs = self._ins[first:end], self._outs[begin:until]
        return (
            self._special.isdisjoint(self._names[here])
            and self._applied.isdisjoint(self._flags[here])
            and links.keys().isdisjoint(self._ids[here])
            and all(one.keys().isdisjoint(ins) and one.keys().isdisjoint(outs) for one in known)
        )

    def of(self, part: range) -> Iterator[tuple[int, Sequence[int], Sequence[int], bool, bool]]:
        """Of every row: op id, the serials that go in, those that come out, and two signs.

        Whether it only makes something new of what goes in; and whether it changes something
        though nothing of interest goes in, by its name or as a custom Function.
        """
        here, bounds = slice(part.start, part.stop), slice(part.start, part.stop + 1)
        names, flags = self._names[here], self._flags[here]
        into = _parts(self._ins, self._in_starts[bounds])
        out = _parts(self._outs, self._out_starts[bounds])
        plain = map(and_, map(self._plain.__contains__, names), map(self._even.__contains__, flags))
        odd = map(
            or_, map(self._special.__contains__, names), map(self._applied.__contains__, flags)
        )
        return zip(self._ids[here], into, out, plain, odd, strict=True)

    def is_forward(self, row: int) -> bool:
        """Whether it made something tracked, with gradients switched on."""
        return bool(self._flags[row] & _FORWARD == _FORWARD)

    def makes_tracked(self, row: int, taken: Sequence[int], made: Sequence[int]) -> bool:
        """Whether all that comes out of a plain row is new and tracked."""
        if self._kept.find(0, self._out_starts[row], self._out_starts[row + 1]) >= 0:
            return False
        for out in made:
            if out in taken:
                return False
        return bool(made)


def _parts(flat: array[int], starts: array[int]) -> Iterator[array[int]]:
    """What each of the rows between these starts owns of a ragged column."""
    return map(flat.__getitem__, map(slice, starts, islice(starts, 1, None)))
