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
    """Stand in for where `logging` looks up its caller, and for where pdb collects its stack.

    Neither is imported from here: the script could see it, and `logging` registers an
    atexit call which the script has not asked for. Torch brings it along.
    """
    if "logging" in sys.modules:
        kind: Any = sys.modules["logging"].Logger
        patches.set(kind, "findCaller", _caller_finder(kind, patches.recorder))
    if "bdb" in sys.modules:
        _debugger(patches)
    else:
        _await_debugger(patches)


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


def _await_debugger(patches: Patches) -> None:
    """Have `bdb`, on which pdb rests, stood in for when it is imported.

    It may be imported by a `breakpoint()` in a hook, below frames of ours. An audit hook
    would hear of it too, but would be called at each look at a frame.
    """
    kind: Any = sys.modules["_frozen_importlib_external"].PathFinder
    original = vars(kind)["find_spec"]

    @functools.wraps(original.__func__)
    def find_spec(cls: Any, fullname: str, path: Any = None, target: Any = None) -> Any:
        spec = original.__get__(None, cls)(fullname, path, target)
        if fullname == "bdb" and patches.recorder.on and spec is not None:
            patches.recorder.guard("debugger tap", _after_import, spec.loader, patches)
        return spec

    patches.set(kind, "find_spec", classmethod(find_spec))


def _after_import(loader: Any, patches: Patches) -> None:
    """Have this loader, which is of one module only, tell when it has run it."""
    run = loader.exec_module

    def exec_module(module: Any) -> None:
        del loader.exec_module
        run(module)
        patches.recorder.guard("debugger tap", _debugger, patches)

    loader.exec_module = exec_module


def _debugger(patches: Patches) -> None:
    kind: Any = sys.modules["bdb"].Bdb
    original, recorder = kind.get_stack, patches.recorder

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
