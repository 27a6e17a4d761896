"""The first and the last line of the screen: what this is, and which keys work."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from textual import events
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Input

from gradpm.tui.cells import Row, fit, fit_row, spread, width_of
from gradpm.tui.roles import role_style


class _Bar(Widget):
    """One painted line."""

    def cells(self, width: int) -> Row:
        """What stands in the line."""
        raise NotImplementedError

    def render_line(self, y: int) -> Strip:
        """Paint it."""
        base = self.rich_style
        variables, ansi = self.app.theme_variables, self.app.current_theme.ansi
        segments = [
            Segment(text, base + role_style(role, variables, ansi))
            for text, role in self.cells(self.size.width)
        ]
        return Strip(segments).adjust_cell_length(self.size.width, base)


class HeaderLine(_Bar):
    """`gradpm · train.py · backward 12 of 40 · 2 findings        torch 2.13 · cpu · exit 0`."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._left: list[str] = []
        self._right: list[str] = []

    def show(self, left: list[str], right: list[str]) -> None:
        """Set both ends."""
        self._left, self._right = left, right
        self.refresh()

    def cells(self, width: int) -> Row:
        """Both ends; the right one gives way first."""
        left: Row = [(" gradpm", "accent")]
        for at, part in enumerate(self._left):
            left += [(" · ", "dim"), (part, "strong" if at == 0 else "text")]
        for first in range(len(self._right)):  # the end, how it ended, matters most
            right: Row = [(" · ".join(self._right[first:]) + " ", "dim")]
            if width_of(left) + width_of(right) < width:
                return spread(left, right, width)
        return fit_row(left, width)


class CrumbLine(_Bar):
    """Where one stands in a pane; its end matters most, so it is cut at the start."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._row: Row = []
        self._lead: Row = []

    def show(self, row: Row, lead: Row | None = None) -> None:
        """Set it; `lead` stands before it and is never cut."""
        if (row, lead or []) != (self._row, self._lead):
            self._row, self._lead = row, lead or []
            self.refresh()

    def cells(self, width: int) -> Row:
        """As much of the end as fits."""
        lead: Row = [(" ", "text"), *self._lead]
        row, first = self._row, 1
        while width_of(lead) + width_of(row) > width and first < len(self._row) - 1:
            first += 1
            row = [("… ", "dim"), *self._row[first:]]
        return fit_row([*lead, *row], width)


class KeyLine(_Bar):
    """The keys that work here, as remapped; as many as fit, help and quit always."""

    ALWAYS: ClassVar[tuple[str, ...]] = ("app.help", "app.quit")
    PAIRS: ClassVar[tuple[tuple[str, str, str, str], ...]] = (
        ("desk.page", " ", "desk.page", "docs"),
        ("desk.findings", "-", "desk.detail", "panes"),
        ("desk.next_backward", " ", "desk.backward_before", "along backwards"),
        ("desk.next", " ", "desk.before", "along findings"),
    )

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._spots: list[tuple[int, int, str]] = []

    def on_mount(self) -> None:
        """Follow the focus."""
        self.screen.bindings_updated_signal.subscribe(self, lambda _: self.refresh())

    def cells(self, width: int) -> Row:
        """`↑↓ move  / search  e editor`."""
        hints = [*self._hints(), *self._pairs()]
        kept = [hint for hint in hints if hint[3] in self.ALWAYS]
        room = width - 1 - sum(len(key) + len(word) + 3 for key, word, _, _ in kept)
        shown = []
        for hint in hints:
            needed = len(hint[0]) + len(hint[1]) + 3
            if hint not in kept and needed <= room:
                shown.append(hint)
                room -= needed
        row: Row = [(" ", "text")]
        self._spots = []
        for key, word, action, _ in shown + kept:
            start = width_of(row)
            row += [(key, "accent"), (f" {word}  ", "dim")]
            self._spots.append((start, width_of(row), action))
        return row

    def _hints(self) -> list[tuple[str, str, str, str]]:
        """(key, word, action, id) of every binding that wants to be shown."""
        if isinstance(self.screen.focused, Input):
            return [("⏎", "done", "enter", "done"), ("esc", "close", "escape", "close")]
        found = {"": ("↑↓", "move", "", "")}
        for active in self.screen.active_bindings.values():
            binding = active.binding
            name = binding.id or binding.action
            if binding.show and active.enabled:
                key = fit(self.app.get_key_display(binding), 8)
                word = binding.description[:1].lower() + binding.description[1:]
                if name not in found or len(key) < len(found[name][0]):
                    found[name] = (key, word, binding.key, name)
        return list(found.values())

    def _pairs(self) -> list[tuple[str, str, str, str]]:
        """What there is room for on a wide screen: keys that go two ways, or to many places."""
        if isinstance(self.screen.focused, Input):
            return []
        keys = {
            active.binding.id: fit(self.app.get_key_display(active.binding), 8)
            for active in self.screen.active_bindings.values()
            if active.enabled
        }
        return [
            (separator.join(dict.fromkeys((keys[first], keys[last]))), word, "", first)
            for first, separator, last, word in self.PAIRS
            if first in keys and last in keys
        ]

    async def on_click(self, event: events.Click) -> None:
        """A click on a key is the key."""
        for start, end, key in self._spots:
            if start <= event.x < end and key:
                self.app.simulate_key(key)
