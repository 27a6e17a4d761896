"""What the roles of cells look like, from the theme's own colour names.

Not component classes of the stylesheet: with twenty of those in each pane every change of
focus cost 100 ms and more of restyling.
"""

from __future__ import annotations

from collections.abc import Mapping

from rich.style import Style
from textual.color import Color

_COLOURS = {
    "title": "accent", "match": "warning", "cursor": "", "cursor-blur": "", "mark": "",
    "strong": "", "text": "",
}  # fmt: skip
_BOLD = frozenset(("strong", "title", "error", "mark", "match"))
_GROUNDS = frozenset(("mark", "cursor", "cursor-blur"))
_REVERSED = frozenset(("mark", "cursor"))  # where the terminal's own colours are used
_DIMMED = frozenset(("dim", "faint", "comment"))


def role_style(role: str, variables: Mapping[str, str], ansi: bool) -> Style:
    """A role's style, to be laid over the pane's; `ansi`: the terminal's own palette rules."""
    name = _COLOURS.get(role, "dim" if role == "comment" else role)
    ground = variables.get(f"gpm-{role}") if role in _GROUNDS and not ansi else None
    return Style(
        color=Color.parse(variables[f"gpm-{name}"]).rich_color if name else None,
        bgcolor=Color.parse(ground).rich_color if ground else None,
        bold=role in _BOLD or None,
        italic=role == "comment" or None,
        underline=role == "match" or (ansi and role == "cursor-blur") or None,
        reverse=(ansi and role in _REVERSED) or None,
        dim=(ansi and role in _DIMMED) or None,
    )
