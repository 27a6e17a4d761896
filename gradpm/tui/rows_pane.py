"""The one list widget: rows painted only when they are on screen.

Trees, tables, text and source are all rows. Stock widgets keep an object per row, which
costs seconds at 100,000 of them; here only the cursor and the window exist.
"""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.timer import Timer

from gradpm.tui.cells import Row, plain
from gradpm.tui.roles import role_style


class RowsPane(ScrollView, can_focus=True):
    """A scrolling list with a cursor. Subclasses say how many rows there are and what is in one."""

    DEFAULT_CLASSES = "pane"
    HAS_CURSOR: ClassVar[bool] = True
    HEAD: int = 0
    """How many lines, `heads()`, stand above the rows and do not scroll away."""
    HELP_TEXT: ClassVar[str] = ""
    """What the pane shows and what its keys do, for the help screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", "Down", show=False, id="list.down"),
        Binding("up,k", "move(-1)", "Up", show=False, id="list.up"),
        Binding("pagedown,ctrl+f", "page(1)", "Page down", show=False, id="list.page_down"),
        Binding("pageup,ctrl+b", "page(-1)", "Page up", show=False, id="list.page_up"),
        Binding("ctrl+d", "page(0.5)", "Half a page down", show=False, id="list.half_down"),
        Binding("ctrl+u", "page(-0.5)", "Half a page up", show=False, id="list.half_up"),
        Binding("home,g", "to_line(0)", "First", show=False, id="list.first"),
        Binding("end,G", "to_line(-1)", "Last", show=False, id="list.last"),
        Binding("enter", "choose", "Open", show=False, id="list.open"),
    ]

    line = reactive(0, repaint=False)

    class Highlighted(Message):
        """The cursor has come to rest on a row."""

        def __init__(self, pane: RowsPane) -> None:
            super().__init__()
            self.pane = pane

        @property
        def control(self) -> RowsPane:
            """The pane, for `@on(..., selector)`."""
            return self.pane

    class Chosen(Highlighted):
        """A row was opened: Enter, or a click on the row under the cursor."""

    def __init__(self, *, id: str | None = None, title: str = "") -> None:
        super().__init__(id=id)
        self.title = title
        self._styles_of_roles: dict[str, Style] = {}
        self._settling: Timer | None = None

    # -- what subclasses say ---------------------------------------------------------

    def row_count(self) -> int:
        """How many rows there are."""
        raise NotImplementedError

    def row(self, line: int, width: int) -> Row:
        """The cells of one row, for a pane `width` columns wide."""
        raise NotImplementedError

    def heads(self, width: int) -> list[Row]:
        """The lines above the rows, for panes with a `HEAD`."""
        return []

    # -- the list changes ------------------------------------------------------------

    @property
    def title(self) -> str:
        """The words in the pane's upper rule."""
        return self._title

    @title.setter
    def title(self, title: str) -> None:
        self._title = plain(title)
        self.border_title = Content(f" {self._title} ") if title else ""

    def rows_changed(self, line: int | None = None) -> None:
        """Paint anew after rows came or went; put the cursor on `line`."""
        self.virtual_size = Size(0, self.row_count() + self.HEAD)
        wanted = self.line if line is None else line
        self.set_reactive(RowsPane.line, self.validate_line(wanted))
        self._into_view(centred=True)
        self.refresh()
        self.announce()

    def on_mount(self) -> None:
        """Rows known before mounting get their scroll bar now."""
        self.virtual_size = Size(0, self.row_count() + self.HEAD)

    def on_resize(self) -> None:
        """Keep the cursor in sight."""
        self.virtual_size = Size(0, self.row_count() + self.HEAD)
        self._into_view(centred=True)

    # -- painting --------------------------------------------------------------------

    def notify_style_update(self) -> None:
        """Theme or focus changed: forget the styles."""
        super().notify_style_update()
        self._styles_of_roles = {}

    def style_of(self, role: str) -> Style:
        """A role's colours, from the theme."""
        style = self._styles_of_roles.get(role)
        if style is None:
            style = self.rich_style + self._look(role)
            self._styles_of_roles[role] = style
        return style

    def _look(self, role: str) -> Style:
        return role_style(role, self.app.theme_variables, self.app.current_theme.ansi)

    def _cursor_style(self) -> Style:
        style = self._styles_of_roles.get("(cursor)")
        if style is None:
            style = self._look("cursor" if self.has_focus else "cursor-blur")
            self._styles_of_roles["(cursor)"] = style
        return style

    def render_line(self, y: int) -> Strip:
        """One line of the window."""
        width = self.scrollable_content_region.width
        base = self.style_of("text")
        if y < self.HEAD:
            heads = self.heads(width)
            head = heads[y] if y < len(heads) else []
            segments = [Segment(text, self.style_of(role)) for text, role in head]
            return Strip(segments).adjust_cell_length(width, base)
        line = y + self.scroll_offset.y - self.HEAD
        if line >= self.row_count():
            return Strip.blank(width, base)
        cells = self.row(line, width)
        if self.HAS_CURSOR and line == self.line:
            cursor = self._cursor_style()
            segments = [
                Segment(
                    text, self.style_of(role) if role == "mark" else self.style_of(role) + cursor
                )
                for text, role in cells
            ]
            return Strip(segments).adjust_cell_length(width, base + cursor)
        segments = [Segment(text, self.style_of(role)) for text, role in cells]
        return Strip(segments).adjust_cell_length(width, base)

    # -- the cursor --------------------------------------------------------------------

    def validate_line(self, line: int) -> int:
        """Within the rows that there are."""
        return max(0, min(line, self.row_count() - 1))

    def watch_line(self, old: int, new: int) -> None:
        """Repaint two lines only, unless the window had to move."""
        top = self.scroll_offset.y
        self._into_view()
        if self.scroll_offset.y == top:
            self.refresh_line(old + self.HEAD)
            self.refresh_line(new + self.HEAD)
        self.announce()

    def _into_view(self, *, centred: bool = False) -> None:
        """Scroll as little as needed; after a jump the row stands in the middle."""
        if not self.HAS_CURSOR:
            return
        height = self.scrollable_content_region.height - self.HEAD
        top = self.scroll_offset.y
        if height <= 0 or top <= self.line < top + height:
            return
        wanted = self.line if self.line < top else self.line - height + 1
        if centred or abs(wanted - top) > height:
            wanted = self.line - height // 2
        self.scroll_to(y=max(0, wanted), animate=False, force=True)

    def announce(self) -> None:
        """Tell where the cursor is once it rests: a held key must not redraw every pane."""
        if not self.HAS_CURSOR or not self.is_attached:
            return
        if self._settling is not None:
            self._settling.stop()
        self._settling = self.set_timer(0.05, self._settled)

    def _settled(self) -> None:
        self.post_message(self.Highlighted(self))

    # -- keys and mouse ------------------------------------------------------------------

    def action_move(self, lines: int) -> None:
        """Down or up."""
        if self.HAS_CURSOR:
            self.line += lines
        else:
            self.scroll_relative(y=lines, animate=False)

    def action_page(self, pages: float) -> None:
        """Pages down or up."""
        self.action_move(int(pages * max(1, self.scrollable_content_region.height - 1 - self.HEAD)))

    def action_to_line(self, line: int) -> None:
        """The first row, or with -1 the last."""
        wanted = line if line >= 0 else self.row_count() - 1
        if self.HAS_CURSOR:
            self.line = wanted
        else:
            self.scroll_to(y=wanted, animate=False)

    def action_choose(self) -> None:
        """Open the row under the cursor."""
        self.post_message(self.Chosen(self))

    def on_click(self, event: events.Click) -> None:
        """Move the cursor; a second click on the same row opens it."""
        offset = event.get_content_offset(self)
        line = (offset.y if offset else -1) + self.scroll_offset.y - self.HEAD
        if (
            not self.HAS_CURSOR
            or offset is None
            or offset.y < self.HEAD
            or not 0 <= line < self.row_count()
        ):
            return
        self.clicked(line, offset.x)

    def clicked(self, line: int, x: int) -> None:
        """A click on row `line`, `x` columns from the pane's left edge."""
        if line == self.line:
            self.action_choose()
        self.line = line
