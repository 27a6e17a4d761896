"""One op as rules see it: what went in, what came out, and the circumstances."""

from __future__ import annotations

from dataclasses import dataclass

from gradpm.trace.schema import THREAD_SHIFT, Op, Out

LAST = 1 << 64  # beyond every op id
# Plain numbers: an enum's own `&` takes ten times as long, and rules ask for each row's flags.
_OUT_REQUIRES, _OUT_LEAF = int(Out.REQUIRES), int(Out.LEAF)


@dataclass(slots=True)
class OpRow:
    """One op: what went in and out, by serial, and the circumstances."""

    row: int
    id: int
    name: str
    frame: int
    scope: int
    flags: int
    seq: int
    detail: int
    ins: tuple[int, ...]
    outs: tuple[int, ...]
    specs: tuple[int, ...]
    oflags: tuple[int, ...]

    def has(self, flag: Op) -> bool:
        """Whether a flag is set."""
        return int.__and__(self.flags, flag) != 0

    @property
    def thread(self) -> int:
        """The number of the thread it ran in; 0 is the main one."""
        return self.flags >> THREAD_SHIFT

    def requires(self, at: int) -> bool:
        """Whether the output at this place requires grad."""
        return at < len(self.oflags) and self.oflags[at] & _OUT_REQUIRES != 0

    def is_leaf(self, at: int) -> bool:
        """Whether the output at this place is a leaf that requires grad."""
        return at < len(self.oflags) and self.oflags[at] & _OUT_LEAF != 0
