"""A source line with something to say about it: the marked expression and the words both fit.

What gives way first is what stands behind the expression, then what stands before it, then
the expression's end, and only then the words.
"""

from __future__ import annotations

from rich.cells import cell_len

from gradpm.tui.cells import Cell, Row, fit, fit_row, width_of
from gradpm.tui.source_text import cut

_ARROW = "  ← "
_LEAST = 15  # columns in which the beginning of the words still says something


def marked_line(code: Row, mark: tuple[int, int], reason: str, role: str, width: int) -> Row:
    """`code` whose characters `mark[0]` to `mark[1]` matter, and `  ← reason`, in `width`."""
    text = "".join(part for part, _ in code)
    spare = width - cell_len(text[: mark[1]]) - 1
    words = _ARROW + fit(reason, max(spare if spare >= _LEAST else width // 2, 8) - len(_ARROW))
    room = max(8, width - cell_len(words))
    if width_of(code) > room:
        code = _squeezed(code, text, mark, room)
    return fit_row([*code, (words, role)], width)


def _squeezed(code: Row, text: str, mark: tuple[int, int], room: int) -> Row:
    first, end = mark
    tail = 1 if end < len(text) else 0  # the ellipsis behind
    if cell_len(text[:end]) + tail <= room:
        return fit_row(code, room)
    start = first
    while start and cell_len(text[start - 1 : end]) + 1 + tail <= room:
        start -= 1  # as much of what stands before as there is room for
    if not text[:start].strip():  # only the indent is lost
        start, lead = len(text) - len(text.lstrip()), list[Cell]()
    else:
        lead = [("…", "dim")]
    return fit_row([*lead, *cut(code, start, len(text))], room)
