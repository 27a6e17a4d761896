"""Closures given to `step`: what runs in one is the user's forward, not the optimizer's work.

Lightning, skorch and LBFGS run the whole forward and backward inside `step(closure)`.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CodeType
from typing import Any

from gradpm.record.stacks import Stacks


class Closure:
    """Tells, of a stack, whether the closure has been called on it, inside the step."""

    def __init__(self, stacks: Stacks, wrapper: CodeType, code: CodeType) -> None:
        """`wrapper` is the code of torch's own frame around every step."""
        self.code = code
        self._stacks = stacks
        self._wrapper = wrapper
        self._known: dict[int, bool] = {}

    def holds(self, stack: int) -> bool:
        """Whether the closure runs there; also where no step does at all."""
        found = self._known.get(stack)
        if found is None:
            found = self._known[stack] = self._search(stack)
        return found

    def _search(self, stack: int) -> bool:
        while stack:
            lines, _ = self._stacks.entries[stack - 1]
            if lines.code is self.code:
                return True
            if lines.code is self._wrapper:
                return False
            stack = lines.parent
        return True


def code_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> CodeType | None:
    """The code that the closure of a step runs in, if there is one; `args[0]` is the optimizer."""
    closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
    if closure is None:
        return None
    for _ in range(8):  # partials of partials
        inner = getattr(closure, "func", None)
        if inner is None or getattr(closure, "__code__", None) is not None:
            break
        closure = inner
    if not callable(closure):
        return None
    call: Callable[..., Any] = closure
    for function in (call, getattr(type(call), "__call__", None)):
        code = getattr(function, "__code__", None)
        if isinstance(code, CodeType):
            return code
    return None
