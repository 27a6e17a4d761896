"""Module calls: which module's forward an op ran in, and under which outer calls."""

from __future__ import annotations

import weakref
from types import FrameType
from typing import Any

from gradpm.record.locks import LOCK

MOST_MODULES = 1 << 16
MOST_CALLS = 1 << 18


class Scopes:
    """Interned module calls.

    A call is named by its outer call, its module, the line that made it and how
    often that has happened since the last engine call, so that every turn of a
    steady loop has the same ids.
    """

    def __init__(self) -> None:
        self._ids: dict[tuple[int, int, int, int], int] = {}
        self._turns: dict[tuple[int, int, int], int] = {}
        self.modules: list[tuple[Any, str, bool]] = []  # (weak reference, class, training)
        self._module_ids: dict[int, tuple[Any, int]] = {}
        self.entries: list[tuple[int, int, int]] = [(0, 0, 0)]  # (outer scope, module, frame)

    def new_turn(self) -> None:
        """An engine call has ended: count calls from zero again."""
        self._turns.clear()

    def enter(self, frame: FrameType, outer: int, lines: Any) -> int:
        """The scope of a `Module._call_impl` frame seen for the first time.

        Reading `f_locals` of this frame keeps nothing alive for longer: all it
        holds are the call's own arguments.
        """
        module = frame.f_locals.get("self")
        if module is None:
            return outer
        which = self.module(module)
        turn_key = (outer, which, lines.parent)
        with LOCK:
            turn = self._turns.get(turn_key, 0)
            self._turns[turn_key] = turn + 1
            key = (*turn_key, turn)
            found = self._ids.get(key)
            if found is None and len(self.entries) >= MOST_CALLS:
                return outer
            if found is None:
                found = self._ids[key] = len(self.entries)
                self.entries.append((outer, which, lines.parent))
        return found

    def module(self, module: Any) -> int:
        """The id of a module object."""
        known = self._module_ids.get(id(module))
        if known is not None and known[0]() is module:
            return known[1]
        if len(self.modules) >= MOST_MODULES:  # a loop that makes modules
            return 0
        try:
            reference: Any = weakref.ref(module)
        except TypeError:
            return 0
        with LOCK:
            which = len(self.modules)
            self.modules.append((reference, type(module).__name__, bool(module.training)))
            self._module_ids[id(module)] = (reference, which)
        return which

    def alive(self) -> list[tuple[int, Any]]:
        """(id, module) of every module called so far that still lives."""
        found = ((which, entry[0]()) for which, entry in enumerate(self.modules))
        return [(which, module) for which, module in found if module is not None]
