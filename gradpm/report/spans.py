"""Findings speak in sentences with code between backticks; here they are taken apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gradpm.trace.text import escape


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a sentence: code (without its backticks) or words."""

    text: str
    is_code: bool


def spans(sentence: str) -> Iterator[Span]:
    """The pieces of a sentence, control characters made visible.

    A backtick without a partner is a word's; no piece of code ever holds one.
    """
    pieces = escape(sentence).split("`")
    if len(pieces) % 2 == 0:
        last = pieces.pop()
        pieces[-1] += f"`{last}"
    for index, piece in enumerate(pieces):
        if piece:
            yield Span(piece, is_code=bool(index % 2))
