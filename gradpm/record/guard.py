"""Between gradpm and the program: a fault of gradpm's own never reaches the user."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch._C._autograd import _profiler_enabled

from gradpm.record.faults import is_ours, say
from gradpm.record.output import Output
from gradpm.record.quiet import hidden
from gradpm.record.tracebacks import strip


class Guard:
    """The part of the recorder that runs all the rest, and stops recording at the first fault."""

    on: bool
    output: Output
    plain: dict[Any, Any]
    note: Callable[[str, Any], None]
    flush: Callable[..., None]
    _faulted = False
    _sealed = False

    def guard(self, where: str, act: Callable[..., Any], *args: Any) -> Any:
        """Run gradpm's own code so that a fault in it never reaches the user."""
        try:
            with torch._C.DisableTorchFunction():
                # As `is_seen`, without a function that may fail: this hides frames, too.
                if torch._C._len_torch_dispatch_stack() or _profiler_enabled():
                    with hidden():
                        return act(*args)
                return act(*args)
        except BaseException as error:
            if not self._takes(where, error):
                raise
            return None

    def lightly(self, where: str, act: Callable[..., Any], *args: Any) -> Any:
        """`guard`, for what asks nothing of a tensor."""
        try:
            return act(*args)
        except BaseException as error:
            if not self._takes(where, error):
                raise
            return None

    def _takes(self, where: str, error: BaseException) -> bool:
        """Whether it is a fault of gradpm's own, which ends here; anything else goes on."""
        if not isinstance(error, Exception):  # Ctrl-C, say
            strip(error)
            return False
        if not is_ours(error):
            return False
        self.fault(where, error)
        return True

    def fault(self, where: str, fault: BaseException) -> None:
        """Something of gradpm's own failed: say so in the trace, stop, let training go on."""
        if isinstance(fault, RecursionError):
            return  # the user's program is at its depth limit: lose the row, not the recording
        if self._faulted:
            return
        self._faulted, self.on = True, False
        self.plain.clear()
        told = type(fault).__name__
        try:
            told += f": {fault}"
        except Exception as mute:  # a program's own exception, whose text gradpm asked for
            told += f", whose text cannot be had: {type(mute).__name__}"
        if self._sealed:
            say(f"gradpm: {where}: {told}\n")
            return
        try:
            import traceback

            text = "".join(traceback.format_exception(fault))[-4000:]
            if os.environ.get("GRADPM_DEBUG"):
                say(text)
            self.note("stopped", {"where": where, "fault": told})
            self.note("stopped_at", text)
            self.flush(force=True)
            if self.output.takes:
                return
        except Exception as second:
            told += f"; then {type(second).__name__}"
        self._say_stopped(f"{where}: {told}")

    def _say_stopped(self, why: str) -> None:
        """Why recording has stopped, in the trace if that can be, else on stderr."""
        try:
            if self.output.stop(why):
                return
        except Exception as second:
            why += f"; then {second}"
        say(f"gradpm: recording stopped: {why}\n")
