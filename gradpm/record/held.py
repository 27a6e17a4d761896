"""What the program's own objects hold, read without running any of its code.

A class may answer for its attributes, its keys may print themselves, its modules may
list their children anew each time: what that does, the program would see.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_PLAIN_KEYS = (str, int, float, bool, bytes, type(None))
_module_of = vars(type)["__module__"].__get__


def home_of(kind: type) -> str:
    """The first part of the name of the module that a class is from; empty when it has none."""
    found = _module_of(kind)
    return found.partition(".")[0] if type(found) is str else ""


def fields_of(value: Any) -> dict[str, Any]:
    """An object's own attributes; none where it keeps no dictionary of them."""
    try:
        found = object.__getattribute__(value, "__dict__")
    except (AttributeError, TypeError):
        return {}
    return found if type(found) is dict else {}


def shown_key(key: Any) -> str:
    """A dictionary's key as a person writes it; of a class of the program's own its name."""
    kind = type(key)
    if kind in _PLAIN_KEYS:
        return repr(key)
    if kind is tuple:
        return "(" + ", ".join(map(shown_key, key)) + ("," if len(key) == 1 else "") + ")"
    return f"<{kind.__name__}>"


def modules_in(root: Any) -> Iterator[tuple[str, Any]]:
    """(path, module) of a module and of all within it, each once, as `named_modules` has them."""
    seen: set[int] = set()
    waiting = [("", root)]
    while waiting:
        path, module = waiting.pop()
        if module is None or id(module) in seen:
            continue
        seen.add(id(module))
        yield path, module
        children = list(module._modules.items())
        waiting += [(f"{path}.{name}" if path else name, child) for name, child in children[::-1]]
