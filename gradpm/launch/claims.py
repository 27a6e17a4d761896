"""The names of traces that runs under way will write: a file is there only from the first op on."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

_held: dict[Path, int] = {}
"""Descriptors whose locks last as long as this process; its child does not inherit them."""


def claim(path: Path) -> bool:
    """Take this name until we end; False if another run has it now.

    The ranks of one run, which may each have a `gradpm run`, share a name; and where
    no lock can be had at all, nobody is kept from a name.
    """
    if path in _held or os.environ.get("RANK", "").isdigit():
        return True
    try:
        import fcntl

        lock = os.open(_lock_of(path), os.O_RDWR | os.O_CREAT, 0o600)
    except (ImportError, OSError):
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return False
    except OSError:
        pass
    _held[path] = lock
    return True


def _lock_of(path: Path) -> str:
    """An empty file in the user's own folder for such, named after the trace."""
    folder = os.path.join(tempfile.gettempdir(), f"gradpm-names-{os.getuid()}")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return os.path.join(folder, hashlib.sha256(os.fsencode(path)).hexdigest()[:32])
