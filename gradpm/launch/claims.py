"""The names of traces that runs under way will write: a file is there only from the first op on."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

_held: dict[Path, tuple[int, str]] = {}
"""Descriptor and file of each lock; it lasts as long as we do, our child does not inherit it."""


def claim(path: Path) -> bool:
    """Take this name until `release`; False if another run has it now.

    The ranks of one run, which may each have a `gradpm run`, share a name; and where
    no lock can be had at all, nobody is kept from a name.
    """
    if path in _held or os.environ.get("RANK", "").isdigit():
        return True
    name = f"gradpm-name-{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}"
    file = os.path.join(tempfile.gettempdir(), name)
    try:
        import fcntl

        lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    except (ImportError, OSError):
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return False
    except OSError:  # a file system without locks
        os.close(lock)
        return True
    _held[path] = lock, file
    return True


def release() -> None:
    """Give the names back; the locks would go with us, their files would not."""
    while _held:
        _, (lock, file) = _held.popitem()
        with contextlib.suppress(OSError):
            os.unlink(file)
        os.close(lock)
