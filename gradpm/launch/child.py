"""Runs the command as a child, stands aside while it lives, and ends as it ended."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from gradpm.errors import ScriptNotFound
from gradpm.launch.claims import release
from gradpm.launch.command import Command

BOOT = Path(__file__).with_name("boot")
"""The folder that leads PYTHONPATH in the child."""

_PASSED = {
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
}
_WATCHED = {*_PASSED, signal.SIGCHLD}


@dataclass(frozen=True, slots=True)
class Ended:
    """How the child ended: `status` is its exit status, or minus the signal's number.

    `signs` is what the boot left behind: `boot` when a python read it, `torch` when
    torch was imported, `notorch` when an import found none, `failed` when torch itself
    raised, `off` when the recorder did not start; None if it could not tell.
    """

    status: int
    signs: frozenset[str] | None


def run(command: Command, trace: Path, options: Mapping[str, object]) -> Ended:
    """Run `command` to its end, recording to `trace`; the terminal's streams are its own.

    Raises `ScriptNotFound` if the system refuses to execute it.
    """
    signs = _private_folder()
    try:
        environment = _environment(trace, options, signs)
        status = _watch(command.argv, environment)
        return Ended(status, None if signs is None else frozenset(os.listdir(signs)))
    finally:
        release()  # its trace, if there is one, now stands for the name itself
        if signs is not None:
            shutil.rmtree(signs, ignore_errors=True)


def leave_as(status: int) -> int:
    """End this process by the child's signal, without a second core dump, or return its status."""
    if status >= 0 and not sys.flags.inspect:
        return status
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if status >= 0:  # PYTHONINSPECT was meant for the child: ours would stay and ask, too
        os._exit(status)
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):  # SIGKILL has no handler to reset
        signal.signal(-status, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {-status})
    os.kill(os.getpid(), -status)
    return 128 - status


def _private_folder() -> str | None:
    try:
        return tempfile.mkdtemp(prefix="gradpm-")
    except OSError:
        return None


def _environment(trace: Path, options: Mapping[str, object], signs: str | None) -> dict[str, str]:
    """The user's own environment, and what the boot needs to know."""
    environment = dict(os.environ)
    path = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = f"{BOOT}{os.pathsep}{path}" if path else str(BOOT)
    environment["GRADPM_TRACE"] = str(trace)
    environment["GRADPM_OPTIONS"] = json.dumps(dict(options))
    environment["GRADPM_HOME"] = str(Path(__file__).parents[2])
    environment["GRADPM_PARENT"] = str(os.getpid())
    environment["GRADPM_SIGNS"] = signs or ""
    return environment


def _watch(argv: tuple[str, ...], environment: dict[str, str]) -> int:
    """Start the child with our signals held back, pass them on, give its end.

    Held back by the mask and fetched one by one: so we learn who sent each, and none is
    lost between the start and the wait.
    """
    # A signal whose action is to be ignored may be dropped even while it is blocked.
    child_handler = signal.signal(signal.SIGCHLD, _nothing)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    try:
        child = _start(argv, environment, lambda: _as_we_were_started(mask))
        status = _wait(child)
        while signal.sigpending() & _WATCHED:  # a second Ctrl-C was meant for the child too
            signal.sigwait(_WATCHED)
        return status
    finally:
        signal.signal(signal.SIGCHLD, child_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    pass


def _start(argv: tuple[str, ...], environment: dict[str, str], prepare: Callable[[], None]) -> int:
    """Fork and execute; the pipe closes by itself when the new program has begun.

    Not `subprocess`: it closes the descriptors that a shell hands on (`3<file`).
    """
    bind = _bound_to_us()
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            prepare()
            bind()
            os.execve(argv[0], argv, environment)
        except OSError as error:
            os.write(writing, str(error.strerror).encode())
        finally:
            os._exit(127)
    os.close(writing)
    with open(reading, "rb") as pipe:
        refused = pipe.read().decode()
    if refused:
        os.waitpid(child, 0)
        hint = "name what runs it before it, as in: gradpm run sh train.sh"
        raise ScriptNotFound(f"{argv[0]} cannot be run: {refused}", hint)
    return child


def _as_we_were_started(mask: set[signal.Signals | int]) -> None:
    """Undo, in the child, what python and we did to the signals since our own start."""
    for number in (signal.SIGPIPE, getattr(signal, "SIGXFSZ", signal.SIGPIPE)):
        signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _bound_to_us() -> Callable[[], None]:
    """What the child calls so that `kill -9` of gradpm ends the training, as without it.

    Linux only; elsewhere the child outlives us. The kernel forgets it for grandchildren.
    """
    if sys.platform != "linux":
        return lambda: None
    try:
        import ctypes

        prctl = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return lambda: None
    parent, set_parent_death_signal = os.getpid(), 1

    def bind() -> None:
        prctl(set_parent_death_signal, int(signal.SIGKILL))
        if os.getppid() != parent:  # it died before we asked
            os.kill(os.getpid(), signal.SIGKILL)

    return bind


def _wait(child: int) -> int:
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        number, shared = _next_signal()
        if number != signal.SIGCHLD and not shared:
            os.kill(child, number)


def _next_signal() -> tuple[int, bool]:
    """The next signal sent to us, and whether the child has got it from the same hand.

    What is typed in a terminal goes to the whole foreground group; Linux tells by the
    code (a kernel's own is positive). Elsewhere: being in that group is the best guess.
    """
    if sys.platform == "linux":
        told = signal.sigwaitinfo(_WATCHED)
        return told.si_signo, told.si_code > 0
    number = signal.sigwait(_WATCHED)
    typed = number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
    return number, typed and _in_foreground()


def _in_foreground() -> bool:
    for descriptor in (0, 1, 2):
        with contextlib.suppress(OSError):
            return os.tcgetpgrp(descriptor) == os.getpgrp()
    return False
