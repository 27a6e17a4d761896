"""What the program sees of its own stack: nothing of gradpm's.

Tracebacks, printed stacks and the stack levels of warnings pass by a few functions of
the standard library. There gradpm's frames are left out, those that wear a user's line,
and the first half of a torch function that a mode interrupts (see `tracebacks`).
"""

from __future__ import annotations

import functools
import inspect
import sys
import traceback
import warnings
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch

from gradpm.record.faults import HERE
from gradpm.record.tracebacks import splice, strip

if TYPE_CHECKING:
    from gradpm.record.patches import Patches
    from gradpm.record.recorder import Recorder
    from gradpm.record.tracebacks import Stands

DISPATCH = torch.overrides.handle_torch_function.__code__


def install(patches: Patches) -> None:
    """Put the stand-ins in place."""
    recorder = patches.recorder
    for name in ("walk_tb", "_walk_tb_with_full_positions"):
        original = getattr(traceback, name, None)
        if original is not None:
            patches.set(traceback, name, _tb_walker(original, recorder))
    patches.set(traceback, "walk_stack", _stack_walker(recorder))
    patches.set(inspect, "getouterframes", _outer_frames(recorder))
    patches.set(inspect, "getinnerframes", _inner_frames(recorder))
    patches.set(warnings, "warn", _warn(recorder))


def visible(frame: FrameType | None, stands: Stands) -> Iterator[FrameType]:
    """A frame and its callers, innermost first, as they would be without gradpm."""
    inner_is_ours = False
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(HERE) or stands.is_stand(code):
            inner_is_ours = True
        elif inner_is_ours and code is DISPATCH:
            frame = frame.f_back  # the first half of the function
            inner_is_ours = False
        else:
            inner_is_ours = False
            yield frame
        frame = frame.f_back if frame is not None else None


def _shown(frame: FrameType | None, stands: Stands) -> list[FrameType]:
    return list(visible(frame, stands))


def _tb_walker(original: Any, recorder: Recorder) -> Any:
    @functools.wraps(original)
    def walk(tb: Any) -> Any:
        recorder.guard("frame tap", splice, tb, recorder.stands)
        return original(tb)

    return walk


def _stack_walker(recorder: Recorder) -> Any:
    original = traceback.walk_stack

    @functools.wraps(original)
    def walk_stack(f: FrameType | None) -> Iterator[tuple[FrameType, int]]:
        if f is None:
            return original(f)  # counts frames from where it is consumed
        shown = recorder.guard("frame tap", _shown, f, recorder.stands)
        if shown is None:
            return original(f)
        return ((frame, frame.f_lineno) for frame in shown)

    return walk_stack


def _outer_frames(recorder: Recorder) -> Any:
    original = inspect.getouterframes

    @functools.wraps(original)
    def getouterframes(frame: Any, context: int = 1) -> Any:
        found = original(frame, context)
        shown = recorder.guard("frame tap", _shown, frame, recorder.stands)
        if shown is None:
            return found
        ids = {id(one) for one in shown}
        return [one for one in found if id(one.frame) in ids]

    return getouterframes


def _inner_frames(recorder: Recorder) -> Any:
    original = inspect.getinnerframes

    @functools.wraps(original)
    def getinnerframes(tb: Any, context: int = 1) -> Any:
        recorder.guard("frame tap", splice, tb, recorder.stands)
        return original(tb, context)

    return getinnerframes


def _warn(recorder: Recorder) -> Any:
    """`stacklevel` counts frames: it has to count as without ours."""
    original = warnings.warn

    @functools.wraps(original)
    def warn(message: Any, *args: Any, **kwargs: Any) -> None:
        frame = sys._getframe(1)
        levelled = recorder.guard("frame tap", _with_level, args, kwargs, frame, recorder.stands)
        args, kwargs = levelled or _one_more(args, kwargs)
        del frame
        try:
            original(message, *args, **kwargs)
        except BaseException as error:
            strip(error)
            raise

    return warn


def _one_more(args: Any, kwargs: Any) -> tuple[Any, Any]:
    """The arguments of `warn`, with a level that counts the stand-in: all else has failed."""
    if len(args) > 1:
        return (args[0], args[1] + 1, *args[2:]), kwargs
    return args, {**kwargs, "stacklevel": kwargs.get("stacklevel", 1) + 1}


def _with_level(args: Any, kwargs: Any, frame: FrameType, stands: Stands) -> tuple[Any, Any]:
    """The arguments of `warn`, with a level that counts our frames too."""
    level = args[1] if len(args) > 1 else kwargs.get("stacklevel", 1)
    real = 2
    if level > 1:
        wanted = next(_after(visible(frame, stands), level - 1), None)
        at: FrameType | None = frame
        while at is not None and at is not wanted:
            real += not _is_import(at) or at is frame
            at = at.f_back
    if len(args) > 1:
        return (args[0], real, *args[2:]), kwargs
    return args, {**kwargs, "stacklevel": real}


def _after(frames: Iterator[FrameType], count: int) -> Iterator[FrameType]:
    """The frames that follow when `count` are passed, import's own not counted, as python does."""
    for frame in frames:
        if count == 0:
            yield frame
            return
        count -= 1
        if _is_import(frame):
            count += 1


def _is_import(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return "importlib" in name and "_bootstrap" in name
