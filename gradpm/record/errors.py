"""Exceptions: those that torch raised, and the one that ended the program."""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from gradpm.record.rows import Rows
from gradpm.trace.schema import Table

if TYPE_CHECKING:
    from gradpm.record.recorder import Recorder

MOST = 512
LONGEST = 8192


class Errors:
    """ERROR rows; each exception object is written once where it was first seen."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.rows = Rows(Table.ERROR)
        self.count = 0
        self._last: tuple[tuple[int, type, tuple[Any, ...]], int, int] | None = None
        self._places: dict[tuple[str, int], tuple[int, int]] = {}  # -> (times, its first row)

    def seen(
        self,
        error: BaseException,
        op: int,
        frame: FrameType | None,
        stack: int = 0,
        facts: Callable[[], dict[str, Any]] | None = None,
    ) -> int:
        """An op or an engine call raised this; the row of it.

        `facts` is asked for what else is known, and only when the row is written.
        """
        key = (id(error), type(error), error.args)
        depth = _depth(error)
        if self._last is not None and self._last[0] == key and depth > self._last[1]:
            return self._last[2]  # the same on its way out; a new one may have a dead one's id
        if frame is not None:
            stack, _ = self.recorder.stacks.at(frame)
        row = self._write(error, op, stack, uncaught=False, facts=facts)
        self._last = (key, depth, row)
        return row

    def uncaught(self, error: BaseException, traceback: Any) -> None:
        """This ended the program."""
        recorder = self.recorder
        stack = self._stack_of(traceback)
        recorder.names.from_traceback(traceback, recorder.engine.count)
        self._write(
            error,
            recorder.ops_so_far(),
            stack,
            uncaught=True,
            facts=lambda: {"led_by": _led_by(error)},
        )
        if recorder.is_root and any(self._places):
            recorder.flush(force=True)  # a run may end before its first engine call

    def _write(
        self,
        error: BaseException,
        op: int,
        stack: int,
        *,
        uncaught: bool,
        facts: Callable[[], dict[str, Any]] | None = None,
    ) -> int:
        kind = type(error)
        name = kind.__name__
        home = kind.__module__
        if type(home) is str and home not in ("builtins", "__main__"):
            name = f"{home}.{name}"
        place = (name, stack)
        if not uncaught:
            times, first = self._places.get(place, (0, self.count))
            self._places[place] = times + 1, first
            if times >= 3 or self.count >= MOST:
                return min(first, max(self.count - 1, 0))
        strings = self.recorder.strings
        message = text_of(error)
        detail: dict[str, Any] = {}
        if error.__traceback__ is not None:
            detail["stack"] = self._frames_of(error)
        if facts is not None:
            detail |= facts()
        self.rows.add(
            strings.id(name), strings.id(message), stack, op, self.recorder.engine.count,
            int(uncaught), strings.json(detail),
        )  # fmt: skip
        self.count += 1
        return self.count - 1

    def _frames_of(self, error: BaseException) -> list[list[Any]]:
        """[file, line, function] of the traceback, outermost first; our own left out."""
        found: list[list[Any]] = []
        traceback = error.__traceback__
        while traceback is not None and len(found) < 200:
            code = traceback.tb_frame.f_code
            if not self.recorder.is_own(code):
                found.append([code.co_filename, traceback.tb_lineno, code.co_name])
            traceback = traceback.tb_next
        return found

    def _stack_of(self, traceback: Any) -> int:
        """The traceback's frames as a stack id, its innermost frame on top."""
        stack = 0
        stacks = self.recorder.stacks
        while traceback is not None:
            code = traceback.tb_frame.f_code
            if not self.recorder.is_own(code):
                stack = stacks.line(stack, code, traceback.tb_lasti)
            traceback = traceback.tb_next
        return stack


def text_of(error: BaseException) -> str:
    """What an exception says; one of the program's own may fail to say it."""
    try:
        return str(error)[:LONGEST]
    except Exception as odd:
        return f"<its text cannot be had: {type(odd).__name__}>"


def _depth(error: BaseException) -> int:
    """How many frames an exception has come through so far."""
    depth, traceback = 0, error.__traceback__
    while traceback is not None:
        depth, traceback = depth + 1, traceback.tb_next
    return depth


def _led_by(error: BaseException) -> list[list[str]]:
    """[type, message] of the exceptions that were being handled when this one was raised."""
    found: list[list[str]] = []
    before = error.__cause__ or error.__context__
    while before is not None and len(found) < 8:
        found.append([type(before).__name__, text_of(before)])
        before = before.__cause__ or before.__context__
    return found
