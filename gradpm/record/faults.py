"""Telling a fault of gradpm's own from an exception that belongs to the user.

A signal handler of the user's may run, and raise, in the middle of a tap. What it
raises is theirs and must go on; what gradpm's own code raised, or the user's code
that gradpm alone had called, must not.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from types import CodeType
from typing import Any

_listeners: list[Callable[[str, BaseException], None]] = []
"""Who is told of a fault where no recorder is at hand: the one that records now is the last."""

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def is_ours(error: BaseException) -> bool:
    """Whether this came of what gradpm did; not of a signal handler."""
    if isinstance(error, RecursionError):
        return True
    handlers = _handlers()
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code in handlers:
            return False
        traceback = traceback.tb_next
    return True


def listen(listener: Callable[[str, BaseException], None]) -> None:
    """Have `listener` told of faults from now on, in place of who was told until now."""
    _listeners.append(listener)


def unlisten(listener: Callable[[str, BaseException], None]) -> None:
    """Tell it no more."""
    if listener in _listeners:
        _listeners.remove(listener)


def tell(where: str, fault: Exception) -> None:
    """A fault outside of any recorder's guard; what is not ours is raised again."""
    if not is_ours(fault):
        raise fault
    if _listeners:
        _listeners[-1](where, fault)


def say(text: str) -> None:
    """A line on stderr; in silence where the program was started without one.

    Descriptor 2 is then a file of the program's own.
    """
    if sys.__stderr__ is not None:
        with contextlib.suppress(OSError):
            os.write(2, text.encode())


def _handlers() -> set[CodeType]:
    """The code of every signal handler written in Python."""
    found: set[CodeType] = set()
    for number in signal.valid_signals():
        handler: Any = signal.getsignal(number)
        while hasattr(handler, "func"):  # functools.partial
            handler = handler.func
        handler = getattr(handler, "__func__", handler)
        code = getattr(handler, "__code__", None)
        if code is None:
            code = getattr(getattr(type(handler), "__call__", None), "__code__", None)
        if code is not None:
            found.add(code)
    return found
