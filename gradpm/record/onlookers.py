"""Loggers and debuggers count and show frames too: those that would be there without gradpm."""

from __future__ import annotations

import functools
import itertools
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

from gradpm.record.frames import visible
from gradpm.record.tracebacks import splice

if TYPE_CHECKING:
    from gradpm.record.patches import Patches
    from gradpm.record.recorder import Recorder
    from gradpm.record.tracebacks import Stands


def install(patches: Patches) -> None:
    """Stand in for where `logging` looks up its caller; a debugger may come later.

    Neither is imported from here: that would register an atexit call which the script
    has not asked for. Torch brings `logging` along.
    """
    if "logging" in sys.modules:
        kind: Any = sys.modules["logging"].Logger
        patches.set(kind, "findCaller", _caller_finder(kind, patches.recorder))
    if "bdb" in sys.modules:
        debugger(patches)


def _caller_finder(kind: Any, recorder: Recorder) -> Any:
    original = kind.findCaller

    @functools.wraps(original)
    def findCaller(self: Any, stack_info: bool = False, stacklevel: int = 1) -> Any:
        hidden = 1  # this frame
        if stacklevel > 1:
            frame = sys._getframe(1)
            more = recorder.guard("frame tap", _hidden_below, frame, stacklevel, recorder.stands)
            hidden += more or 0
            del frame
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
    original, recorder = kind.get_stack, patches.recorder
    if getattr(original, "__wrapped__", None) is not None:
        return

    @functools.wraps(original)
    def get_stack(self: Any, f: Any, t: Any) -> Any:
        recorder.guard("debugger tap", splice, t, recorder.stands)
        stack, index = original(self, f, t)
        if f is None:
            return stack, index
        outer = recorder.guard("debugger tap", _outer, stack[: index + 1], f, recorder.stands)
        if outer is None:
            return stack, index
        return outer + stack[index + 1 :], max(0, len(outer) - 1)

    patches.set(kind, "get_stack", get_stack)


def _outer(stack: list[Any], frame: FrameType, stands: Stands) -> list[Any]:
    """Those of the debugger's (frame, line) pairs that would be there without gradpm."""
    shown = {id(one) for one in visible(frame, stands)}
    return [entry for entry in stack if id(entry[0]) in shown]
