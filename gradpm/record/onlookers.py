"""Loggers and debuggers count and show frames too: those that would be there without gradpm."""

from __future__ import annotations

import contextlib
import functools
import itertools
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

from gradpm.record.frames import visible
from gradpm.record.tracebacks import splice

if TYPE_CHECKING:
    from gradpm.record.patches import Patches
    from gradpm.record.tracebacks import Stands


def install(patches: Patches) -> None:
    """Stand in for where `logging` looks up its caller; a debugger may come later.

    Neither is imported from here: that would register an atexit call which the script
    has not asked for. Torch brings `logging` along.
    """
    if "logging" in sys.modules:
        kind: Any = sys.modules["logging"].Logger
        patches.set(kind, "findCaller", _caller_finder(kind, patches.recorder.stands))
    if "bdb" in sys.modules:
        debugger(patches)


def _caller_finder(kind: Any, stands: Stands) -> Any:
    original = kind.findCaller

    @functools.wraps(original)
    def findCaller(self: Any, stack_info: bool = False, stacklevel: int = 1) -> Any:
        hidden = 1  # this frame
        if stacklevel > 1:
            with contextlib.suppress(Exception):
                hidden += _hidden_below(sys._getframe(1), stacklevel, stands)
        return original(self, stack_info, stacklevel + hidden)

    return findCaller


def _hidden_below(frame: FrameType | None, level: int, stands: Stands) -> int:
    """How many of gradpm's frames stand between the logging call and the level asked for."""
    while frame is not None and frame.f_code.co_filename == sys.modules["logging"].__file__:
        frame = frame.f_back
    shown = list(itertools.islice(visible(frame, stands), level))
    steps = 0
    while frame is not None and frame is not shown[-1]:
        steps += 1
        frame = frame.f_back
    return steps - (len(shown) - 1)


def debugger(patches: Patches) -> None:
    """Stand in for where pdb collects its stack, once there is a pdb."""
    kind: Any = sys.modules["bdb"].Bdb
    original, stands = kind.get_stack, patches.recorder.stands
    if getattr(original, "__wrapped__", None) is not None:
        return

    @functools.wraps(original)
    def get_stack(self: Any, f: Any, t: Any) -> Any:
        with contextlib.suppress(Exception):
            splice(t, stands)
        stack, index = original(self, f, t)
        if f is None:
            return stack, index
        shown = {id(frame) for frame in visible(f, stands)}
        outer = [entry for entry in stack[: index + 1] if id(entry[0]) in shown]
        return outer + stack[index + 1 :], max(0, len(outer) - 1)

    patches.set(kind, "get_stack", get_stack)
