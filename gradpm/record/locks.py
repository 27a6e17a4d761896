"""One lock for all that is shared and slow: interning, tables, the file.

An op's row is written without it. In CPython a thread is only ever interrupted at a
call, a loop's end or a function's start: so a few statements in a straight line, none
of which calls a Python function, are whole. Whoever writes rows that way says so.
"""

from __future__ import annotations

import threading

LOCK = threading.RLock()


def renew() -> None:
    """In a forked child: the thread that may have held the lock is not there."""
    LOCK._at_fork_reinit()  # type: ignore[attr-defined]
