"""Help for the pane in focus: what it shows, and every key that works there, as remapped."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding, BindingType
from textual.containers import Vertical
from textual.dom import DOMNode
from textual.screen import ModalScreen

from gradpm.tui.cells import Row, fit_row, prose, wrap
from gradpm.tui.config import config_path
from gradpm.tui.rows_pane import RowsPane

_SIGNS = (
    ("✖ error", "error"), ("▲ warning", "warning"), ("● note", "note"), ("✔ ok", "ok"),
    ("✂ cut", "error"), ("○ no gradient", "none"), ("❄ frozen", "dim"), ("↗ see there", "note"),
)  # fmt: skip


class HelpRows(RowsPane):
    """The text of the help."""

    HAS_CURSOR = False

    def __init__(self, rows: list[tuple[Row, int]]) -> None:
        super().__init__(id="help-rows")
        self._paragraphs = rows
        self._wrapped: list[Row] = []
        self._width = -1

    def row_count(self) -> int:
        """Rows after wrapping."""
        width = self.scrollable_content_region.width or 76
        if width != self._width:
            self._width = width
            self._wrapped = [
                r for row, indent in self._paragraphs for r in wrap(row, width, indent)
            ]
        return len(self._wrapped)

    def row(self, line: int, width: int) -> Row:
        """One line of it."""
        return fit_row(self._wrapped[line], width)


class HelpScreen(ModalScreen[None]):
    """Over the desk; any of its keys closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "dismiss", "Close", id="help.close"),
    ]

    def __init__(self, rows: list[tuple[Row, int]], title: str = " Help · Escape closes ") -> None:
        super().__init__()
        self._rows = rows
        self._title = title

    def compose(self) -> ComposeResult:
        """One box."""
        with Vertical(id="help"):
            yield HelpRows(self._rows)

    def on_mount(self) -> None:
        """Its keys scroll."""
        box = self.query_one("#help")
        box.border_title = self._title
        self.query_one(HelpRows).focus()


def page_rows(page: str) -> list[tuple[Row, int]]:
    """A documentation page as paragraphs: headings loud, code as it stands."""
    rows: list[tuple[Row, int]] = []
    in_code = False
    words: list[str] = []
    for line in [*page.splitlines(), ""]:
        plain_line = line and not in_code and not line.startswith(("#", "```", "- ", "|"))
        if words and not plain_line:
            rows.append((prose(" ".join(words)), 0))
            words = []
        if plain_line:
            words.append(line.strip())
        elif line.startswith("```"):
            in_code = not in_code
        elif in_code:
            rows.append(([(f"  {line}", "note")], 2))
        elif line.startswith("- "):
            words.append(line)
        elif line.startswith("#"):
            rows.append(([(line.lstrip("# "), "strong")], 0))
        else:
            rows.append((prose(line), 0))
    return rows


def help_rows(
    pane: RowsPane | None, active: dict[str, ActiveBinding], width: int
) -> list[tuple[Row, int]]:
    """The pane's words, its own keys, then the keys that work everywhere."""
    rows: list[tuple[Row, int]] = []
    if pane is not None and pane.HELP_TEXT:
        rows += [(prose(pane.HELP_TEXT), 0), ([], 0)]
    here, everywhere = _by_node(pane, active)
    moving = [one for one in here if _is_moving(one[0])]
    here = [one for one in here if not _is_moving(one[0])]
    everywhere.sort(key=lambda one: not one[0].show)  # what the last line shows comes first
    sections = (("In this pane", here), ("Everywhere", everywhere), ("Moving", moving))
    for title, found in sections:
        if found:
            rows.append(([(title, "title")], 0))
            rows += [(_line(keys, binding, width >= 66), 0) for binding, keys in found]
            rows.append(([], 0))
    signs: Row = []
    for text, role in _SIGNS:
        signs += [(text.replace(" ", "\u00a0"), role), ("   ", "text")]
    rows += [([("Signs", "title")], 0), (signs, 0), ([], 0)]
    names = "the names on the right" if width >= 66 else "their names"
    words = f"Keys can be changed, by {names}, in {config_path()}"
    rows.append((prose(words, "dim"), 0))
    return rows


def _by_node(
    pane: DOMNode | None, active: dict[str, ActiveBinding]
) -> tuple[list[tuple[Binding, list[str]]], list[tuple[Binding, list[str]]]]:
    """Bindings with all their keys: (the pane's own, all others)."""
    here: dict[str, tuple[Binding, list[str]]] = {}
    everywhere: dict[str, tuple[Binding, list[str]]] = {}
    for one in active.values():
        name = one.binding.id or ""
        if not name or not one.binding.description:
            continue
        where = here if one.node is pane else everywhere
        where.setdefault(name, (one.binding, []))[1].append(one.binding.key)
    return list(here.values()), list(everywhere.values())


def _is_moving(binding: Binding) -> bool:
    return (binding.id or "").startswith("list.")


_PLAIN_KEYS = {
    "slash": "/", "question_mark": "?", "right_square_bracket": "]", "left_square_bracket": "[",
    "full_stop": ".", "comma": ",", "semicolon": ";", "up": "↑", "down": "↓", "left": "←",
    "right": "→", "pageup": "PgUp", "pagedown": "PgDn", "escape": "Esc", "enter": "⏎",
    "backspace": "⌫",
}  # fmt: skip


def _line(keys: list[str], binding: Binding, with_name: bool) -> Row:
    shown = " ".join(_PLAIN_KEYS.get(key, key.replace("ctrl+", "^")) for key in keys)
    return [
        (f"  {shown:<12}", "accent"),
        (f"{binding.description:<28}", "text"),
        (binding.id or "" if with_name else "", "dim"),
    ]
