"""Module calls: which module's forward an op ran in, and under which outer calls."""

from __future__ import annotations

import weakref
from types import FrameType
from typing import Any

from gradpm.record.locks import LOCK

MOST_MODULES = 1 << 16
MOST_CALLS = 1 << 18


class Calls:
    """The calls of one module from one line inside one outer call, since the last engine call."""

    __slots__ = ("count", "epoch", "ids")

    def __init__(self) -> None:
        self.ids: list[int] = []  # of the first, the second, ... call
        self.count = 0
        self.epoch: object = None


class Scopes:
    """Interned module calls.

    A call is named by its outer call, its module, the line that made it and how
    often that has happened since the last engine call, so that every turn of a
    steady loop has the same ids.
    """

    def __init__(self) -> None:
        self.epoch = object()
        self.modules: list[tuple[Any, str, bool]] = []  # (weak reference, class, training)
        self.module_ids: dict[int, tuple[Any, int]] = {}
        self.entries: list[tuple[int, int, int]] = [(0, 0, 0)]  # (outer scope, module, frame)

    def new_turn(self) -> None:
        """An engine call has ended: count calls from zero again."""
        self.epoch = object()

    def enter(self, frame: FrameType, outer: int, lines: Any) -> int:
        """The scope of a `Module._call_impl` frame seen for the first time.

        Reading `f_locals` of this frame keeps nothing alive for longer: all it
        holds are the call's own arguments.
        """
        module = frame.f_locals.get("self")
        if module is None:
            return outer
        which = self.module(module)
        with LOCK:
            calls = lines.calls.get(outer * MOST_MODULES + which)
            if calls is None:
                calls = lines.calls[outer * MOST_MODULES + which] = Calls()
            if calls.epoch is not self.epoch:
                calls.epoch, calls.count = self.epoch, 0
            calls.count += 1
            if calls.count <= len(calls.ids):
                return int(calls.ids[calls.count - 1])
            if len(self.entries) >= MOST_CALLS:
                return outer
            found = len(self.entries)
            calls.ids.append(found)
            self.entries.append((outer, which, lines.parent))
        return found

    def module(self, module: Any) -> int:
        """The id of a module object."""
        known = self.module_ids.get(id(module))
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
            self.module_ids[id(module)] = (reference, which)
        return which

    def alive(self) -> list[tuple[int, Any]]:
        """(id, module) of every module called so far that still lives."""
        found = ((which, entry[0]()) for which, entry in enumerate(self.modules))
        return [(which, module) for which, module in found if module is not None]
