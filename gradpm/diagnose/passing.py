"""Which op rows only hand on what they take in: told by columns, since most rows do just that."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from itertools import islice

from gradpm.diagnose.facts import Facts
from gradpm.trace.schema import Op, Out

_applied = int(Op.FUNCTION).__and__
_FORWARD = int(Op.GRAD_ENABLED | Op.OUT_REQUIRES)
_ODD = int(Op.FUNCTION | Op.LEFT | Op.IN_STEP | Op.IN_OPTIM | Op.RAISED | Op.SETTER | Op.UNSEEN)
_TRACKED, _KINDS = int(Out.REQUIRES), int(Out.REQUIRES | Out.LEAF)


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

    def all(self) -> Iterator[tuple[int, Sequence[int], Sequence[int], bool, int]]:
        """Of every row: op id, the serials that go in, those that come out, and two signs.

        They say that it changes something though nothing of interest goes in: by its name, or
        as a custom Function.
        """
        in_ends, out_ends = islice(self._in_starts, 1, None), islice(self._out_starts, 1, None)
        into = map(self._ins.__getitem__, map(slice, self._in_starts, in_ends))
        out = map(self._outs.__getitem__, map(slice, self._out_starts, out_ends))
        named, applied = map(self._special.__contains__, self._names), map(_applied, self._flags)
        return zip(self._ids, into, out, named, applied, strict=True)

    def made(self, row: int) -> Sequence[int]:
        """The serials that come out."""
        found: Sequence[int] = self._outs[self._out_starts[row] : self._out_starts[row + 1]]
        return found

    def is_forward(self, row: int) -> bool:
        """Whether it made something tracked, with gradients switched on."""
        return bool(self._flags[row] & _FORWARD == _FORWARD)

    def passes_on(self, row: int, taken: Sequence[int]) -> bool:
        """Whether all that comes out is new, tracked, and made of what goes in."""
        if self._flags[row] & _ODD or self._names[row] not in self._plain:
            return False
        first, end = self._out_starts[row], self._out_starts[row + 1]
        for at in range(first, end):
            if self._oflags[at] & _KINDS != _TRACKED or self._outs[at] in taken:
                return False
        return bool(first < end)
