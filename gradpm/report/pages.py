"""The documentation page of each code, shipped with the package."""

from __future__ import annotations

import difflib
import re
from importlib import resources

from gradpm.diagnose.catalogue import NAMES
from gradpm.errors import UsageError


def codes() -> list[tuple[str, str]]:
    """Every code with its name, in order: `("GP101", "detached")`."""
    return sorted(NAMES.items())


def page(code: str) -> str:
    """The page of `code`, which may be the code or its name, in any case.

    Raises `UsageError`, with the nearest codes or names as its hint, for one that is not known.
    """
    known = _known(code)
    docs = resources.files("gradpm.report") / "docs"
    return (docs / f"{known}.md").read_text(encoding="utf-8")


def _known(code: str) -> str:
    """The code that is meant."""
    asked = code.strip().upper().replace("_", "-")
    by_name = {name.upper(): number for number, name in NAMES.items()}
    found = asked if asked in NAMES else by_name.get(asked)
    if found is None:
        raise UsageError(f"there is no finding called {code}", _nearest(asked, by_name))
    return found


def _nearest(asked: str, by_name: dict[str, str]) -> str:
    """`did you mean GP101 (detached)?`; where nothing is near, the range of the codes."""
    number = re.fullmatch(r"(?:GP)?-?(\d{3})\w?", asked)
    if number:
        near = sorted(NAMES, key=lambda code: abs(int(code[2:]) - int(number[1])))[:2]
    else:
        close = difflib.get_close_matches(asked, by_name, n=2, cutoff=0.6)
        near = [by_name[name] for name in close]
    if near:
        return f"did you mean {' or '.join(f'{code} ({NAMES[code]})' for code in near)}?"
    return f"codes go from {min(NAMES)} to {max(NAMES)}; a name will do too: detached"
