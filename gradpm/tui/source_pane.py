"""The user's code as it was when it ran, with the very expression marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from gradpm.diagnose.finding import Location
from gradpm.tui.cells import Row, fit, fit_row, plain, width_of
from gradpm.tui.evidence import Evidence
from gradpm.tui.marked_line import marked_line
from gradpm.tui.rows_pane import RowsPane
from gradpm.tui.source_text import SourceText, cut, painted

_MANY = 8


class SourcePane(RowsPane):
    """A file, its marked expression, and a gutter sign at every line that made graph nodes."""

    HELP_TEXT: ClassVar[str] = (
        "The source as it was embedded in the trace. ▶ marks the line in question, the coloured "
        "part is the very expression; ▷ marks the other lines that play a part (; goes to them), "
        "▪ stands at lines that made nodes of the autograd graph. Long lines scroll with ← and →."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "sideways(-8)", "Scroll left", show=False, id="source.left"),
        Binding("right,l", "sideways(8)", "Scroll right", show=False, id="source.right"),
        Binding("o", "ops", "Ops on this line", id="source.ops"),
        Binding("u", "user_line(1)", "Next line with nodes", id="source.next_line"),
        Binding("U", "user_line(-1)", "Line before", show=False, id="source.line_before"),
    ]

    class OpsWanted(Message):
        """Show which calls ran on a line."""

        def __init__(self, path: str, line: int) -> None:
            super().__init__()
            self.path, self.line = path, line

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, title="Source")
        self.place: Location | None = None
        self._asked: tuple[object, ...] | None = None
        self._others: tuple[tuple[Location, str], ...] = ()
        self._at_lines: Mapping[int, str] = {}
        self._pinned: Row = []
        self._reason = ""
        self._role = "error"
        self._texts: dict[tuple[int, str], SourceText] = {}
        self._on_disk: dict[tuple[int, str], tuple[int, bool]] = {}
        self._evidence: Evidence | None = None
        self._text = SourceText([])
        self._shift = 0
        self.marks: dict[int, int] = {}
        self._lost = "No source line belongs to this."

    def show(
        self,
        evidence: Evidence,
        place: Location | None,
        reason: str,
        role: str,
        others: Sequence[tuple[Location, str]] = (),
    ) -> None:
        """Show a place; `reason` is what stands behind its line.

        `others` are the finding's other places with their reasons; the first of them stands
        above the code where it is not in sight.
        """
        others = tuple(others)
        asked = (id(evidence), place, reason, role, others)
        if asked == self._asked and (place is None or self.line == place.line - 1):
            return  # nothing to repaint: going down a graph often stays on one line
        self._asked, self._others, self._evidence = asked, others, evidence
        self.place, self._reason, self._role = place, reason, role
        self._shift = 0
        if place is None:
            self._text, self.title = SourceText([]), "Source"
            self._at_lines, self.HEAD = {}, 0
            self.rows_changed(0)
            return
        key = (id(evidence), place.file)
        if key not in self._texts:
            source = evidence.trace.source(place.file)
            lines = evidence.trace.source_lines(place.file) if source else []
            self._texts[key] = SourceText(lines)
        self._text = self._texts[key]
        self.title = self._heading(place)
        self._at_lines = {one.line: why for one, why in reversed(others) if one.file == place.file}
        self._pin()
        self.rows_changed(place.line - 1)
        self._centre()

    def _pin(self) -> None:
        """The first of the other places, above the code where it is too far away to be seen."""
        self.HEAD, self._pinned, place = 0, [], self.place
        height = self.scrollable_content_region.height
        if place is None or not self._others or height < 4:
            return
        other, why = self._others[0]
        top = min(self._top(height), max(0, len(self._text) - height))
        if other.file == place.file and top < other.line <= top + height:
            return
        name = f"{other.line}" if other.file == place.file else other.short()
        self.HEAD = 1
        self._pinned = [
            ("▷", "note"),
            (f" {plain(name)}  ", "accent"),
            (plain(other.source.strip()), "text"),
            (f"  ← {why}", "note"),
        ]

    def heads(self, width: int) -> list[Row]:
        """The pinned line; its code gives way to the words behind it."""
        row = self._pinned
        if len(row) == 4 and width_of(row) > width:
            room = width - width_of([*row[:2], row[3]])
            row = [*row[:2], (fit(row[2][0], max(8, room)), "text"), row[3]]
        return [fit_row(row, width)]

    def show_marks(self, marks: dict[int, int]) -> None:
        """How many graph nodes each line (from 1) made."""
        if marks != self.marks:
            self.marks = marks
            self.refresh()

    def look_again(self) -> None:
        """After an editor was here: the file may have changed."""
        if self.place is not None:
            self.title = self._heading(self.place)

    def _has_changed(self, file: str) -> bool:
        """Whether the file on this disk differs from the one that ran; read once per change."""
        evidence = self._evidence
        try:
            when = Path(file).stat().st_mtime_ns
        except (OSError, ValueError):
            return False
        key = (id(evidence), file)
        if evidence is not None and self._on_disk.get(key, (0, False))[0] != when:
            self._on_disk[key] = (when, bool(evidence.has_changed(file)))
        return self._on_disk[key][1]

    def _heading(self, place: Location) -> str:
        name = plain(place.file.replace("\\", "/").rpartition("/")[2])
        # `Net.__init__.<locals>.<genexpr>` is, to its reader, `Net.__init__`
        parts = [part for part in place.function.split(".") if not part.startswith("<")]
        inside = f" · {plain('.'.join(parts))}" if parts and parts != [""] else ""
        note = " · changed on disk since the run" if self._has_changed(place.file) else ""
        return f"{name}{inside}{note}"

    @property
    def here(self) -> Location | None:
        """The marked place, or where the cursor has been moved to since."""
        place = self.place
        if place is None or not len(self._text) or self.line == place.line - 1:
            return place
        return Location("", place.file, self.line + 1, source=self._text.lines[self.line].strip())

    def row_count(self) -> int:
        """The file's lines, or what is known where it has no source."""
        return len(self._text) or (2 if self.place else 1)

    def row(self, line: int, width: int) -> Row:
        """`▶  31      h = h.detach()      ← the gradient stops here`."""
        if not len(self._text):
            return fit_row(self._sourceless(line), width)
        place = self.place
        assert place is not None
        digits = max(3, len(str(len(self._text))))
        culprit = line == place.line - 1
        sign = (
            ("▶", self._role)
            if culprit
            else ("▷", "note")
            if line + 1 in self._at_lines
            else ("▪", "accent")
            if line + 1 in self.marks
            else (" ", "text")
        )
        gutter: Row = [sign, (f"{line + 1:>{digits}}  ", "strong" if culprit else "faint")]
        code = self._code(line, place)
        if self._shift:
            code = cut(code, self._shift, 1 << 30)
        if culprit and self._reason:
            mark = self._mark(line, place)
            shifted = (max(0, mark[0] - self._shift), max(0, mark[1] - self._shift))
            room = width - width_of(gutter)
            return [*gutter, *marked_line(code, shifted, self._reason, self._role, room)]
        why = "" if self._shift or culprit else self._at_lines.get(line + 1, "")
        if why:
            shown = self._text.lines[line]
            span = (len(shown) - len(shown.lstrip()), len(shown))
            return [*gutter, *marked_line(code, span, why, "note", width - width_of(gutter))]
        return fit_row(gutter + code, width)

    def _code(self, line: int, place: Location) -> Row:
        """A line's cells, the marked expression in its own role."""
        code = self._text.cells(line)
        if not place.line - 1 <= line <= max(place.line, place.end_line) - 1:
            return code
        first, end = self._mark(line, place)
        return painted(code, first, end, "mark") if end > first else code

    def _mark(self, line: int, place: Location) -> tuple[int, int]:
        """The characters of a line that belong to the place's expression."""
        shown = self._text.lines[line]
        first, end = len(shown) - len(shown.lstrip()), len(shown)
        if place.column and line == place.line - 1:
            first = self._text.character(line, place.column)
        if place.end_column and line == max(place.line, place.end_line) - 1:
            end = self._text.character(line, place.end_column)
        return first, end

    def _sourceless(self, line: int) -> Row:
        place = self.place
        if place is None:
            return [(self._lost, "dim")]
        if line == 0:
            return [(plain(place.short()), "accent"), (f"  {plain(place.source.strip())}", "text")]
        return [("The trace holds no source for this file.", "dim")]

    def _top(self, height: int) -> int:
        """The first line on show when the marked one stands a third down."""
        return max(0, self.place.line - 1 - max(1, height // 3)) if self.place else 0

    def _centre(self) -> None:
        """The marked line a third down from the top."""
        height = self.scrollable_content_region.height
        if height and self.place is not None and len(self._text):
            self.scroll_to(y=self._top(height), animate=False, force=True)

    def on_resize(self) -> None:
        """Keep the marked line in sight."""
        self._pin()
        super().on_resize()
        self._centre()

    def action_sideways(self, columns: int) -> None:
        """Scroll long lines."""
        longest = max((len(line) for line in self._text.lines), default=0)
        self._shift = max(0, min(self._shift + columns, longest - _MANY))
        self.refresh()

    def action_ops(self) -> None:
        """Which calls ran on this line."""
        if self.here is not None:
            self.post_message(self.OpsWanted(self.here.file, self.here.line))

    def action_user_line(self, step: int) -> None:
        """The next line, down or up, that made graph nodes."""
        lines = sorted(self.marks)
        ahead = [n for n in lines if (n - 1 - self.line) * step > 0]
        if ahead:
            self.line = (ahead[0] if step > 0 else ahead[-1]) - 1
