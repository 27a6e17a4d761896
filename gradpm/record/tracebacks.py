"""Keeping gradpm's frames out of tracebacks and warnings.

While an exception passes through one of gradpm's frames, that frame's entry is
taken out of the traceback before it goes on: a bare `raise` restores what stands
in `__traceback__` and adds nothing (Python 3.11 and later). So what the script
catches, formats or logs has never held a frame of gradpm's. What torch's own
dispatch to a mode leaves behind is taken out when the program ends by it.

A warning raised in C++ names the Python frame that called. So each op is called
from a frame that wears the user's file, line and globals: the once-per-location
registry, the module filters and the printed line are then as without gradpm.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import CodeType, FrameType, FunctionType, TracebackType
from typing import Any

from gradpm.record.faults import HERE, tell


def _call(function: Any, args: Any, kwargs: Any) -> Any: return function(*args, **kwargs) if kwargs else function(*args)  # noqa: E501  # fmt: skip


def _call_traced(resume: Any, function: Any, args: Any, kwargs: Any) -> Any: resume(); return function(*args, **(kwargs or {}))  # noqa: E501, E702  # fmt: skip


PLAIN_CALL = _call.__code__
TRACED_CALL = _call_traced.__code__
MARK = "gradpm wears this line"  # the last constant of every stand
MOST_STANDS = 1 << 16


class Stands:
    """Code objects that wear the clothes of the user's lines, by line."""

    def __init__(self) -> None:
        self._codes: dict[tuple[int, int], tuple[CodeType, CodeType]] = {}

    def call(self, frame: FrameType, function: Any, args: Any, kwargs: Any) -> Any:
        """`function(*args, **kwargs)` as if called from this frame's line."""
        try:
            code = self.of(frame)
        except Exception as fault:
            tell("op tap", fault)
            code = PLAIN_CALL
        if sys.gettrace() is None and sys.getprofile() is None:
            return FunctionType(code, frame.f_globals)(function, args, kwargs)
        return self.call_unseen(code, frame, function, args, kwargs)

    def call_unseen(
        self, stand: CodeType, frame: FrameType, function: Any, args: Any, kwargs: Any
    ) -> Any:
        """The same while a tracer or a profiler of the user's looks on, who would count the stand.

        No tracer hears of a frame that began while it was off. A profiler hears of every
        end: for it the call has no disguise, and a warning of this call gradpm's line.
        """
        if sys.getprofile() is not None or stand is PLAIN_CALL:
            return function(*args, **(kwargs or {}))
        tracer = sys.gettrace()
        code = TRACED_CALL.replace(
            co_consts=(*TRACED_CALL.co_consts, MARK),
            co_filename=stand.co_filename,
            co_firstlineno=stand.co_firstlineno,
            co_name=stand.co_name,
        )
        resumed = functools.partial(sys.settrace, tracer)
        sys.settrace(None)
        try:
            return FunctionType(code, frame.f_globals)(resumed, function, args, kwargs)
        except RecursionError:
            if sys.gettrace() is None:  # there was no room for the frame that turns it on
                resumed()
            raise

    def of(self, frame: FrameType) -> CodeType:
        """Code that wears the line at which a frame now stands."""
        code = frame.f_code
        found = self._codes.get((id(code), frame.f_lasti))
        if found is not None and found[0] is code:
            return found[1]
        if len(self._codes) >= MOST_STANDS:  # code that is made anew in a loop
            self._codes.clear()
        stand = PLAIN_CALL.replace(
            co_consts=(*PLAIN_CALL.co_consts, MARK),
            co_filename=code.co_filename,
            co_firstlineno=frame.f_lineno or code.co_firstlineno,
            co_name=code.co_name,
        )
        self._codes[(id(code), frame.f_lasti)] = (code, stand)
        return stand

    def is_stand(self, code: CodeType) -> bool:
        """Whether this code only wears a user's line."""
        return bool(code.co_consts) and code.co_consts[-1] is MARK


_at_first: list[Callable[[], object]] = []


def at_first_exception(act: Callable[[], object]) -> None:
    """Have `act` called once, when an exception first passes through a frame of gradpm's."""
    _at_first.append(act)


def strip(error: BaseException, stands: Stands | None = None) -> None:
    """Take gradpm's frames off the outer end of an exception's traceback."""
    try:
        while _at_first:
            _at_first.pop()()
        traceback = error.__traceback__
        while traceback is not None and _is_own(traceback, stands):
            traceback = traceback.tb_next
        if traceback is not error.__traceback__:
            error.__traceback__ = traceback
    except Exception as fault:
        tell("traceback tap", fault)


def _is_own(traceback: TracebackType, stands: Stands | None) -> bool:
    code = traceback.tb_frame.f_code
    return code.co_filename.startswith(HERE) or (stands is not None and stands.is_stand(code))


def splice(traceback: TracebackType | None, stands: Stands) -> None:
    """Take every frame of gradpm's, and torch's dispatch to it, out of a whole traceback.

    `handle_torch_function` and the frame before it are the first half of a call that
    a mode interrupts; the second half stands after it and looks as without a mode.
    """
    kept: list[TracebackType] = []
    at = traceback
    while at is not None:
        code = at.tb_frame.f_code
        if code.co_name == "handle_torch_function" and code.co_filename.endswith("overrides.py"):
            if at.tb_next is None or _is_users_mode(at.tb_next, stands):
                kept.append(at)  # the end of the call, or somebody else's dispatch
            elif len(kept) > 1:
                kept.pop()
        elif not _is_own(at, stands) or not kept:
            kept.append(at)
        at = at.tb_next
    for outer, inner in zip(kept, [*kept[1:], None], strict=False):
        if outer.tb_next is not inner:
            outer.tb_next = inner


def _is_users_mode(inner: TracebackType | None, stands: Stands) -> bool:
    """Whether the dispatch led to a mode or a subclass that is not gradpm's."""
    if inner is None or _is_own(inner, stands):
        return False
    return inner.tb_frame.f_code.co_name == "__torch_function__"


def splice_chain(error: BaseException | None, stands: Stands) -> None:
    """The same for an exception, its causes and its contexts."""
    seen: set[int] = set()
    queue = [error]
    while queue:
        at = queue.pop()
        if at is None or id(at) in seen:
            continue
        seen.add(id(at))
        splice(at.__traceback__, stands)
        queue += [at.__cause__, at.__context__]
