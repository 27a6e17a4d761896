"""A trace file held open: bytes out of it, and what was found damaged in it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from gradpm.errors import DamagedColumn, NewerTrace, TraceError
from gradpm.trace.text import escape


@dataclass(frozen=True, slots=True)
class Damage:
    """A place (byte offset) where the file is not what it should be, and what that cost."""

    offset: int
    reason: str
    skipped_bytes: int


class OpenFile:
    """A file of the size that it had when it was opened. `name` is fit for a sentence."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open it for reading; raises TraceError."""
        self.path = os.fspath(path)
        self.name = f"'{escape(os.fsdecode(self.path))}'"
        self.damage: list[Damage] = []
        self._reported: set[tuple[int, str]] = set()
        self._fd, self.size = _open(self.path, self.name)

    def close(self) -> None:
        """Let go of the file; twice is harmless."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def read(self, at: int, size: int) -> bytes:
        """Exactly `size` bytes. Not mmap: a file cut under a mapping kills the process."""
        try:
            if hasattr(os, "pread"):
                found = os.pread(self._fd, size, at)
            else:
                os.lseek(self._fd, at, os.SEEK_SET)
                found = os.read(self._fd, size)
        except OSError as error:
            raise DamagedColumn(f"it cannot be read ({error.strerror})") from None
        if len(found) != size:
            raise DamagedColumn("the file has become shorter while it was read")
        return found

    def report(self, offset: int, reason: str, skipped: int) -> None:
        """Note damage once, however often the place is read."""
        if (offset, reason) not in self._reported:
            self._reported.add((offset, reason))
            self.damage.append(Damage(offset, reason, skipped))

    def newer(self) -> NewerTrace:
        """The error for a file that this version must not try to read."""
        return NewerTrace(f"{self.name} was made by a newer gradpm.", "Upgrade gradpm to read it.")


def _open(path: str, name: str) -> tuple[int, int]:
    """A descriptor and the file's size; raises TraceError."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
    # O_NONBLOCK: opening a pipe must not wait for someone to write to it.
    flags |= getattr(os, "O_NONBLOCK", 0)
    try:
        found = os.stat(path)
        if stat.S_ISDIR(found.st_mode):
            raise TraceError(f"{name} is a folder, not a trace.", "Name the trace file inside it.")
        if not stat.S_ISREG(found.st_mode):
            raise TraceError(f"{name} is not a regular file.", "Save the trace to a file first.")
        if found.st_size == 0:
            raise TraceError(f"{name} is empty.", "Nothing was recorded; run the script again.")
        fd = os.open(path, flags)
        return fd, os.fstat(fd).st_size
    except FileNotFoundError:
        raise TraceError(f"There is no file {name}.", "Check the path.") from None
    except PermissionError:
        hint = "Ask its owner for the right to read it."
        raise TraceError(f"You may not read {name}.", hint) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        hint = "Check the path and the disk."
        raise TraceError(f"{name} cannot be read: {reason}.", hint) from None
