"""Which tensor is which: a serial for every tensor object, held by weak reference.

`id()` is reused, so each entry holds a weak reference that is checked on every
look-up. Nothing is ever set on a tensor and none is kept alive.
"""

from __future__ import annotations

import itertools
import weakref
from typing import Any

PRUNE_AT = 1 << 16


class Identity:
    """Serials: positive ones in order of appearance, negative ones for parameters."""

    def __init__(self) -> None:
        # by id: the tensor, its serial, its spec as last seen (0: not known)
        self.known: dict[int, tuple[Any, int, int]] = {}
        self.next_serial = itertools.count(1).__next__
        self._next_parameter = itertools.count(1).__next__
        self._prune_at = PRUNE_AT

    def find(self, tensor: Any) -> int:
        """The serial of a tensor, 0 when it was never seen."""
        entry = self.known.get(id(tensor))
        return entry[1] if entry is not None and entry[0]() is tensor else 0

    def new(self, tensor: Any) -> int:
        """A serial for a tensor object seen for the first time."""
        serial = self.next_serial()
        self.known[id(tensor)] = (weakref.ref(tensor), serial, 0)
        return serial

    def new_parameter(self, tensor: Any) -> int:
        """A negative, lasting serial for a parameter."""
        serial = -self._next_parameter()
        self.known[id(tensor)] = (weakref.ref(tensor), serial, 0)
        return serial

    def changed(self, tensor: Any) -> int:
        """The serial of a tensor that was changed in place: its shape may be another now."""
        entry = self.known.get(id(tensor))
        if entry is None or entry[0]() is not tensor:
            return 0
        if entry[2]:
            self.known[id(tensor)] = (entry[0], entry[1], 0)
        return entry[1]

    def alive(self, serials: Any) -> dict[int, Any]:
        """The living tensors among these serials, by serial."""
        wanted = set(serials)
        found = {}
        for reference, serial, _ in list(self.known.values()):
            if serial in wanted and (tensor := reference()) is not None:
                found[serial] = tensor
        return found

    def prune(self) -> None:
        """Forget the dead once they may be many: memory stays flat over a long run."""
        if len(self.known) < self._prune_at:
            return
        for key, (reference, _, _) in list(self.known.items()):
            if reference() is None:
                self.known.pop(key, None)
        self._prune_at = max(PRUNE_AT, 2 * len(self.known))
