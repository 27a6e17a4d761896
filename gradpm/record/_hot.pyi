from typing import Any

from gradpm.record import plain

class HotTap(plain.HotTap): ...

def configure(types: tuple[Any, ...], questions: tuple[Any, ...], flags: tuple[int, ...]) -> None:
    """Tell torch's types, Token and Lines; torch's questions; the flags, in `_hot.c`'s order."""
