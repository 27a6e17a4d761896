"""A source file, coloured piece by piece as it comes into sight."""

from __future__ import annotations

import bisect
import re
from typing import Any

from gradpm.tui.cells import Cell, Row, plain

_TAB = 4
_PIECE = 400
_FRESH_START = re.compile(r"(?:def|class|async def|@|import|from|if __name__)")


class SourceText:
    """Lines with tabs expanded, and their tokens.

    Colouring starts at a line that begins something at the left margin, and at most 400 lines
    at a time: colouring a file of 5,000 lines at once takes 0.18 s.
    """

    def __init__(self, lines: list[str]) -> None:
        self._raw = lines
        self.lines = [plain(line.expandtabs(_TAB)) for line in lines]
        self._starts = [0]
        for at, line in enumerate(self.lines):
            far = at - self._starts[-1]
            if at and (far >= _PIECE or (far >= 40 and _FRESH_START.match(line))):
                self._starts.append(at)
        self._coloured: dict[int, list[Row]] = {}
        self._lexer: Any = None

    def __len__(self) -> int:
        return len(self.lines)

    def cells(self, at: int) -> Row:
        """The coloured cells of line `at` (from 0)."""
        piece = bisect.bisect_right(self._starts, at) - 1
        start = self._starts[piece]
        rows = self._coloured.get(piece)
        if rows is None:
            end = self._starts[piece + 1] if piece + 1 < len(self._starts) else len(self.lines)
            rows = self._coloured[piece] = self._colour(self.lines[start:end])
        return rows[at - start]

    def _colour(self, lines: list[str]) -> list[Row]:
        if self._lexer is None:
            from pygments.lexers.python import (  # type: ignore[import-untyped,unused-ignore]
                PythonLexer,
            )

            self._lexer = PythonLexer(stripnl=False, ensurenl=False)
        rows: list[Row] = [[]]
        for token, text in self._lexer.get_tokens("\n".join(lines)):
            role = _role(token)
            for number, part in enumerate(text.split("\n")):
                if number:
                    rows.append([])
                if part:
                    rows[-1].append((part, role))
        rows += [[] for _ in range(len(lines) - len(rows))]
        return rows

    def character(self, at: int, column: int) -> int:
        """The place in the shown line of a 1-based utf-8 byte column of the file's line."""
        raw = self._raw[at]
        before = raw.encode("utf-8", "surrogatepass")[: max(0, column - 1)]
        head = before.decode("utf-8", "ignore")
        return len(plain(head.expandtabs(_TAB)))


_ROLES = (
    ("Token.Comment", "comment"),
    ("Token.Keyword", "keyword"),
    ("Token.Operator.Word", "keyword"),
    ("Token.Literal.String", "string"),
    ("Token.Literal.Number", "number"),
    ("Token.Name.Function", "function"),
    ("Token.Name.Class", "function"),
    ("Token.Name.Decorator", "function"),
)


def _role(token: object) -> str:
    """A token's role; most of Python stays in the text's own colour: the marks must stand out."""
    name = str(token)
    return next((role for prefix, role in _ROLES if name.startswith(prefix)), "text")


def cut(row: Row, first: int, end: int) -> Row:
    """Characters `first` to `end` of a row."""
    found: Row = []
    at = 0
    for text, role in row:
        stop = at + len(text)
        if stop > first and at < end:
            found.append((text[max(0, first - at) : end - at], role))
        at = stop
    return found


def painted(row: Row, first: int, end: int, role: str) -> Row:
    """A row with characters `first` to `end` in another role."""
    length = sum(len(text) for text, _ in row)
    inside: list[Cell] = [(text, role) for text, _ in cut(row, first, end)]
    return cut(row, 0, first) + inside + cut(row, end, length)
