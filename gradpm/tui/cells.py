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
_WORDS = re.compile(r" +|[^ ]+")  # a no-break space holds together


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


def fit_end(text: str, width: int) -> str:
    """`text` in at most `width` columns, cut at its start: the end of a path or a name tells."""
    if cell_len(text) <= width:
        return text
    if width <= 0:
        return ""
    while cell_len(text) > width - 1:
        text = text[1:]
    return "…" + text


def pad(text: str, width: int) -> str:
    """`text` with spaces behind it up to `width` columns (characters may be two wide)."""
    return text + " " * (width - cell_len(text))


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
    start: Row = [(" " * indent, "text")] if indent else []
    lines: list[Row] = [[]]
    room = width
    for word in _words_of(row):
        size = width_of(word)
        fresh = room == width - (indent if len(lines) > 1 else 0)
        if word[0][0][0] == " ":
            if size <= room and not (fresh and len(lines) > 1):
                lines[-1] += word
                room -= size
            elif not fresh:
                room = 0
            continue
        if size > room and not fresh:
            lines.append(list(start))
            room = width - indent
        while size > room:  # longer than a whole line
            head, word = _split(word, room)
            lines[-1] += head
            lines.append(list(start))
            size, room = width_of(word), width - indent
        lines[-1] += word
        room -= size
    return lines


def _words_of(row: Iterable[Cell]) -> list[Row]:
    """Words and the spaces between them; a word may go on from one cell to the next."""
    found: list[Row] = []
    for text, role in row:
        for part in _WORDS.findall(text):
            glued = found and part[0] != " " and found[-1][-1][0][0] != " "
            if glued:
                found[-1].append((part, role))
            else:
                found.append([(part, role)])
    return found


def _split(word: Row, room: int) -> tuple[Row, Row]:
    """What of a word fits into `room` columns (one character at least), and the rest."""
    head: Row = []
    for at, (text, role) in enumerate(word):
        size = cell_len(text)
        if size <= room:
            head.append((text, role))
            room -= size
            continue
        kept = set_cell_size(text, room).rstrip() if room > 0 else ""
        kept = kept if kept or head else text[:1]
        if kept:
            head.append((kept, role))
        return head, [(text[len(kept) :], role), *word[at + 1 :]]
    return head, []
