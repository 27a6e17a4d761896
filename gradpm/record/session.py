"""Recording a whole process: from the import of torch to its end, however it comes."""

from __future__ import annotations

import atexit
import functools
import os
import sys
from collections.abc import Callable
from typing import Any

from gradpm.record.options import Options
from gradpm.record.recorder import Recorder
from gradpm.record.recording import begin
from gradpm.record.tracebacks import at_first_exception, splice, splice_chain
from gradpm.record.whereto import file_of

_ANNOUNCED = frozenset({"sys.excepthook", "sys.unraisablehook"})
_current: Recorder | None = None
_base = ""
_hears = False  # what is announced


def start_process(base: str, options: dict[str, Any]) -> None:
    """Install the taps for the life of this process and of those forked from it."""
    global _current, _base
    known = Options.of(options)
    _base = base
    _current = recorder = Recorder(_name(known), known)
    recorder.is_root = known.root_pid == os.getpid()
    begin(recorder)
    atexit.register(_finish)
    at_first_exception(_hear)
    os.register_at_fork(after_in_child=_forked)
    _watch_multiprocessing()
    _watch_hard_exit()


def _name(options: Options) -> Callable[[], str]:
    return functools.partial(file_of, _base, options)


def _finish() -> None:
    if _current is not None:
        if not _hears:
            _current.guard("end", _left_behind, _current)
        _current.guard("end", _current.finish)


def _left_behind(recorder: Recorder) -> None:
    """What ended the program, when no exception had passed through gradpm: python keeps it.

    Others keep one there too (pytest, say), whose traceback does not begin at the bottom.
    """
    error = getattr(sys, "last_value", None)
    traceback = getattr(sys, "last_traceback", None)
    if not isinstance(error, BaseException) or traceback is None:
        return
    if traceback.tb_frame.f_back is None:
        _uncaught(recorder, error, traceback)


def _hear() -> None:
    """Listen to what python announces. Each look at a frame is, too, at 0.2 us: not before
    an exception has passed through gradpm, whose frames are then to be taken out.
    """
    global _hears
    _hears = True
    sys.addaudithook(_audit)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    """What is announced before the program's own hooks run: the last look at the frames."""
    if _current is None or event not in _ANNOUNCED:
        return
    if event == "sys.excepthook":
        _, _, error, traceback = arguments
        if error is not None:
            _current.guard("end", _uncaught, _current, error, traceback)
    else:
        unraisable = arguments[1]
        _current.guard("end", splice, unraisable.exc_traceback, _current.stands)
        _current.guard("end", splice_chain, unraisable.exc_value, _current.stands)


def _uncaught(recorder: Recorder, error: BaseException, traceback: Any) -> None:
    if recorder.on:
        recorder.guard("end", recorder.errors.uncaught, error, traceback)
    recorder.guard("end", splice_chain, error, recorder.stands)


def _forked() -> None:
    """We are a forked child: our own file, should we come to use autograd."""
    if _current is not None:
        _current.guard("fork", _begin_again, _current)


def _begin_again(recorder: Recorder) -> None:
    recorder.begin_again(_name(recorder.options))


# -- processes that leave without python's goodbye --------------------------------


class _Mark:
    """What `register_after_fork` wants to be given: an object that lives."""


_mark = _Mark()


def _watch_multiprocessing() -> None:
    """A child of multiprocessing leaves by `os._exit`, after its finalizers."""
    util = sys.modules.get("multiprocessing.util")
    if util is None:
        return
    util.register_after_fork(_mark, lambda _: _at_child_end(util))
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        _at_child_end(util)


def _at_child_end(util: Any) -> None:
    util.Finalize(None, _finish_child, exitpriority=-100)


def _finish_child() -> None:
    """The child's work is done, or was ended by an exception on its way out."""
    error = sys.exc_info()[1]
    if isinstance(error, SystemExit):  # torch.multiprocessing.spawn's, after the true one
        error = error.__context__
    if error is not None and _current is not None:
        _current.guard("end", _uncaught, _current, error, error.__traceback__)
    _finish()


def _watch_hard_exit() -> None:
    """`os._exit` ends without atexit: seal the file before it."""
    leave = os._exit

    @functools.wraps(leave)
    def _exit(status: int) -> Any:
        if _current is not None:
            _current.guard("end", _current.finish)
        leave(status)

    _exit.__module__ = "os"  # where pickle finds it
    os._exit = _exit
