"""Text in cells: what a row is made of before it becomes a strip.

A cell is `(text, role)`. A role names a style of the stylesheet (`.row--ROLE`), never a
colour. Everything that came from a trace passes through `plain` first: a source line or a
name may hold terminal escapes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rich.cells import cell_len, set_cell_size

from gradpm.trace.text import escape

Cell = tuple[str, str]
Row = list[Cell]

_CODE = re.compile(r"`([^`]+)`")
_WORDS = re.compile(r"\s+|\S+")


def plain(text: str) -> str:
    """One line of text that is safe to print."""
    return text if text.isascii() and text.isprintable() else escape(text)


def width_of(row: Iterable[Cell]) -> int:
    """How many columns a row takes."""
    return sum(cell_len(text) for text, _ in row)


def fit(text: str, width: int) -> str:
    """`text` in at most `width` columns, `…` where something was left out."""
    if width <= 0:
        return ""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip() + "…"


def fit_row(row: Sequence[Cell], width: int) -> Row:
    """A row cut to `width`; the cell that crosses the edge ends in `…`."""
    if width_of(row) <= width:
        return list(row)
    found: Row = []
    for text, role in row:
        needed = cell_len(text)
        if needed >= width:  # more follows, so the last column is the ellipsis's
            found.append((fit(text + "  ", width), role))
            break
        found.append((text, role))
        width -= needed
    return found


def spread(left: Sequence[Cell], right: Sequence[Cell], width: int, least: int = 12) -> Row:
    """`left` at the left edge and `right` at the right; `right` gives way when too narrow."""
    tail = width_of(right)
    if right and tail + least + 1 <= width:
        kept = fit_row(left, width - tail - 1)
        return [*kept, (" " * (width - tail - width_of(kept)), "text"), *right]
    return fit_row(left, width)


def prose(text: str, role: str = "text") -> Row:
    """Text in which `backticks` mark the user's own words."""
    found: Row = []
    at = 0
    for match in _CODE.finditer(text):
        found += [(plain(text[at : match.start()]), role), (plain(match.group(1)), "strong")]
        at = match.end()
    found.append((plain(text[at:]), role))
    return [cell for cell in found if cell[0]]


def wrap(row: Iterable[Cell], width: int, indent: int = 0) -> list[Row]:
    """A row broken at spaces into rows of at most `width` columns."""
    width = max(width, 8)
    lines: list[Row] = [[]]
    room = width
    for text, role in row:
        for word in _WORDS.findall(text):
            size = cell_len(word)
            if size > room and room < width and not word.isspace():
                lines.append([(" " * indent, "text")] if indent else [])
                room = width - indent
            while size > room:  # longer than a whole line, or a space at its end
                if word.isspace():
                    word = ""
                    break
                head = set_cell_size(word, room).rstrip() or word[:1]
                lines[-1].append((head, role))
                word = word[len(head) :]
                lines.append([(" " * indent, "text")] if indent else [])
                size, room = cell_len(word), width - indent
            if word and not (word.isspace() and room == width):
                lines[-1].append((word, role))
                room -= cell_len(word)
    return lines
