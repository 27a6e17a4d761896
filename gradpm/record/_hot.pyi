from typing import Any

from gradpm.record import plain

class HotTap(plain.HotTap): ...

def configure(types: tuple[Any, ...], questions: tuple[Any, ...], flags: tuple[int, ...]) -> None:
    """Tell torch's types and ours, questions and flags, in the order of `native/module.c`."""
