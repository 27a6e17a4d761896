"""Hooks of gradpm's own, with numbers of their own.

torch numbers all handles from one counter, and prints it: the user's own handles
must get the numbers that they would get without gradpm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.utils.hooks import RemovableHandle

_next = -1


def register(door: Callable[[Any], Any], hook: Any) -> Any:
    """`door(hook)`, a node's `register_hook` or the like; the handle."""
    global _next
    theirs, RemovableHandle.next_id = RemovableHandle.next_id, _next
    try:
        return door(hook)
    finally:
        _next -= 1
        RemovableHandle.next_id = theirs
