"""Finds the functions of gradpm that a program's recording calls, and breaks them one by one."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import gradpm

PACKAGE = str(Path(gradpm.__file__).parent)
OPTIMIZED = 0x1
FAULT = "injected"


def name_of(code: CodeType) -> str:
    """`tap.OpTap.row`: the file and the function's qualified name."""
    return f"{Path(code.co_filename).stem}.{getattr(code, 'co_qualname', code.co_name)}"


def called_in(act: Callable[[], Any], *rooms: str) -> dict[str, CodeType]:
    """The functions of these rooms of gradpm's that run while `act` does, by name."""
    folders = tuple(f"{PACKAGE}/{room}/" for room in rooms)
    found: dict[str, CodeType] = {}

    def look(frame: Any, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(folders):
            return
        if code.co_flags & OPTIMIZED and not code.co_name.startswith("<"):
            # no module or class; and a comprehension breaks with its function
            found[name_of(code)] = code

    threading.setprofile(look)
    sys.setprofile(look)
    try:
        act()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    return found


@contextmanager
def broken(code: CodeType) -> Iterator[None]:
    """Every function of this code, now or made inside, raises at once as if of itself."""
    instead = _raising(code)
    undo: list[tuple[FunctionType, CodeType]] = []
    try:
        for function, new in list(_replaced(code, instead)):
            undo.append((function, function.__code__))
            function.__code__ = new
        assert undo, f"no function has the code of {name_of(code)}"
        yield
    finally:
        for function, old in reversed(undo):
            function.__code__ = old


def _replaced(code: CodeType, instead: CodeType) -> Iterator[tuple[FunctionType, CodeType]]:
    """The functions that have this code, or make functions of it, and what they are to have."""
    for thing in gc.get_objects():
        # not isinstance, which asks dead weak proxies for their class
        if type(thing) is FunctionType and thing.__code__.co_filename == code.co_filename:
            new = _swapped(thing.__code__, code, instead)
            if new is not thing.__code__:
                yield thing, new


def _swapped(within: CodeType, code: CodeType, instead: CodeType) -> CodeType:
    """`within`, with one code in it, however deep, taken for another."""
    if within is code:
        return instead
    inner = tuple(
        _swapped(one, code, instead) if isinstance(one, CodeType) else one
        for one in within.co_consts
    )
    same = all(one is was for one, was in zip(inner, within.co_consts, strict=True))
    return within if same else within.replace(co_consts=inner)


def _raising(code: CodeType) -> CodeType:
    """Code that raises, for functions that close over as many variables as this one's."""
    cells = [f"cell{at}" for at in range(len(code.co_freevars))]
    lines = [
        "def outer():",
        *(f"    {cell} = None" for cell in cells),
        "    def inside(*args, **kwargs):",
        f"        raise LookupError({FAULT!r}, {', '.join(cells)})",
        "    return inside",
    ]
    made: dict[str, Any] = {}
    exec(compile("\n".join(lines), code.co_filename, "exec"), made)
    made_code: CodeType = made["outer"]().__code__
    return made_code.replace(co_name=code.co_name, co_firstlineno=code.co_firstlineno)
