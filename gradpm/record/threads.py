"""A tap for every thread: torch's modes belong to the thread that entered them.

The tap is entered and left where `threading` itself notes that a thread begins and
ends, so that no frame of gradpm's stands below the thread's own.
"""

from __future__ import annotations

import functools
import sys
import threading
from typing import TYPE_CHECKING, Any

from gradpm.record.tracebacks import splice_chain

if TYPE_CHECKING:
    from gradpm.record.patches import Patches
    from gradpm.record.recorder import Recorder


def install(patches: Patches) -> None:
    """Stand in for the two private methods that every new thread calls first and last."""
    recorder = patches.recorder
    kind = threading.Thread
    begins = getattr(kind, "_set_ident", None)
    ends = getattr(kind, "_delete", None)
    if begins is None or ends is None:
        return

    @functools.wraps(begins)
    def _set_ident(self: Any) -> None:
        begins(self)
        if recorder.on and type(self).__name__ not in ("_MainThread", "_DummyThread"):
            recorder.guard("thread tap", _enter, recorder, self)

    @functools.wraps(ends)
    def _delete(self: Any) -> None:
        recorder.guard("thread tap", recorder.leave_thread)
        ends(self)

    patches.set(kind, "_set_ident", _set_ident)
    patches.set(kind, "_delete", _delete)


def _enter(recorder: Recorder, thread: Any) -> None:
    recorder.enter_thread()
    invoke = getattr(thread, "_invoke_excepthook", None)
    if invoke is None:
        return

    @functools.wraps(invoke)
    def told(thread: Any) -> None:
        error = sys.exc_info()[1]
        if recorder.on and error is not None:
            recorder.guard("end", recorder.errors.uncaught, error, error.__traceback__)
        recorder.guard("end", splice_chain, error, recorder.stands)
        invoke(thread)

    thread._invoke_excepthook = told
