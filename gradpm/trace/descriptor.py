"""The descriptor of a trace that is written inside somebody else's program.

It stays out of the program's way, above the numbers that its own files get, and is never
trusted: a program may close all descriptors, and open files of its own under their numbers.
"""

from __future__ import annotations

import os

from gradpm.errors import OutputError

_ABOVE = 192
_APPENDING = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)


def create(path: str | os.PathLike[str], overwrite: bool) -> int:
    """A descriptor at the end of a new file; raises OutputError."""
    # O_APPEND: after the cut that a full disk makes, a plain write would leave a hole.
    flags = _APPENDING | os.O_CREAT | (os.O_TRUNC if overwrite else os.O_EXCL)
    try:
        return _out_of_the_way(os.open(path, flags, 0o644))
    except FileExistsError:
        hint = "Choose another name, or allow it to be overwritten."
        raise OutputError(f"The file {os.fspath(path)!r} exists already.", hint) from None
    except (OSError, ValueError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else str(error)
        hint = "Check that its folder exists and that you may write there."
        raise OutputError(f"Cannot write the trace {os.fspath(path)!r}: {reason}.", hint) from None


def file_of(descriptor: int) -> tuple[int, int]:
    """(device, inode) of the open file; (0, 0) when the descriptor is closed."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return 0, 0
    return status.st_dev, status.st_ino


def reopen(path: str, file: tuple[int, int]) -> int | None:
    """A new descriptor of that very file; None if it is not at `path` any more."""
    try:
        descriptor = os.open(path, _APPENDING)
    except OSError:
        return None
    if file_of(descriptor) != file:
        os.close(descriptor)
        return None
    return _out_of_the_way(descriptor)


def reason_of(error: OSError) -> str:
    """Why the system refused, in its own words."""
    return error.strerror or str(error) or type(error).__name__


def _out_of_the_way(descriptor: int) -> int:
    """The same file under a high number: the program's next file gets its usual one.

    And where the program was started with a closed stream, what it prints in C must not
    end up in the trace.
    """
    try:
        import fcntl

        high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _ABOVE)
    except (ImportError, OSError, ValueError):  # not everywhere, nor beyond `ulimit -n`
        return descriptor
    os.close(descriptor)
    return high
