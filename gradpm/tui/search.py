"""One box that finds everything: findings, parameters, modules, lines."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from gradpm.diagnose.finding import Location
from gradpm.trace.model import Trace
from gradpm.trace.schema import FileKind, Table
from gradpm.tui.cells import Row, fit, fit_end, plain, spread
from gradpm.tui.rows_pane import RowsPane

if TYPE_CHECKING:
    from gradpm.tui.desk_search import DeskSearch

Act = Callable[[], None]
_MOST = 200
_NOTED = 56  # columns from which there is room for shapes and places


@dataclass(frozen=True, slots=True)
class Target:
    """Something that can be gone to."""

    kind: str
    text: str
    note: str
    act: Act


def targets(desk: DeskSearch, trace: Trace) -> list[Target]:
    """Everything that a run can be searched for; `trace` is read here, beside the app."""
    found = [
        Target("finding", f"{t.finding.code} {t.finding.title}", "", _to_finding(desk, at))
        for at, t in enumerate(desk.told)
    ]
    found += [
        Target(
            "parameter", p.name, str(list(p.leaf.spec.shape)), _to_parameter(desk, p.leaf.serial)
        )
        for p in desk.browser.parameters.parameters
    ]
    for name in sorted(set(trace.module_names.values())):
        found.append(Target("module", name, "", _to_module(desk, name)))
    found += _functions(desk, trace)
    for path, kind in trace.files:
        if kind is FileKind.USER:
            for number, line in enumerate(
                trace.source_lines(path) if trace.source(path) else (), 1
            ):
                if line.strip():
                    place = Location("", path, number, source=line.strip())
                    found.append(
                        Target("line", line.strip(), place.short(), _to_place(desk, place))
                    )
    return found


def _functions(desk: DeskSearch, trace: Trace) -> list[Target]:
    """The user's functions that were seen on a stack."""
    frames = trace.table(Table.FRAME)
    users = {n for n, (_, kind) in enumerate(trace.files) if kind is FileKind.USER}
    seen: dict[tuple[int, int], int] = {}
    for row, (file, line) in enumerate(zip(frames["file"], frames["first_line"], strict=True)):
        if file in users and line:
            seen.setdefault((file, line), row)
    found = []
    for row in seen.values():
        frame = trace.frame(row)
        if frame is not None:
            place = Location("", frame.path, frame.first_line, function=frame.function)
            if frame.function.endswith(">"):
                continue  # <module>, <lambda>, <genexpr>: nobody looks for those
            name = frame.function.replace(".<locals>", "")
            found.append(Target("function", name, place.short(), _to_place(desk, place)))
    return found


Searchable = list[tuple[str, Target]]


def searchable(found: list[Target]) -> Searchable:
    """Targets with the text that words are looked for in."""
    return [(f"{t.text} {t.note} {t.kind}".casefold(), t) for t in found]


def _to_finding(desk: DeskSearch, at: int) -> Act:
    return lambda: desk.go_to_finding(desk.told[at].finding)


def _to_parameter(desk: DeskSearch, serial: int) -> Act:
    def act() -> None:
        desk.action_focus_pane("parameters")
        desk.browser.parameters.go_to_serial(serial)

    return act


def _to_module(desk: DeskSearch, name: str) -> Act:
    def act() -> None:
        desk.action_focus_pane("parameters")
        for parameter in desk.browser.parameters.parameters:
            if parameter.name.startswith(f"{name}."):
                desk.browser.parameters.go_to_serial(parameter.leaf.serial)
                return

    return act


def _to_place(desk: DeskSearch, place: Location) -> Act:
    def act() -> None:
        desk.show_place(place)
        desk.action_focus_pane("source")

    return act


@dataclass(slots=True)
class Hits:
    """What a search found, to go from one hit to the next after its box has closed."""

    targets: list[Target]
    at: int

    def go(self, step: int) -> str:
        """Go to a hit, round and round; which of how many it is."""
        self.at = (self.at + step) % len(self.targets)
        self.targets[self.at].act()
        return f"hit {self.at + 1:,} of {len(self.targets):,} · . next  , before"


class Results(RowsPane):
    """The targets that match, best first."""

    def __init__(self) -> None:
        super().__init__(id="results")
        self.found: list[Target] = []
        self.words: list[str] = []
        self.none = "Looking …"

    def row_count(self) -> int:
        """At most 200 are shown; one row says that there is none."""
        return len(self.found) or 1

    def row(self, line: int, width: int) -> Row:
        """`parameter  encoder.fc1.weight      [64, 32]`."""
        if not self.found:
            return [(self.none, "dim")]
        target = self.found[line]
        dotted = target.kind in ("parameter", "module")  # the end of such a name tells
        shorten = fit_end if dotted else fit
        note = fit_end(plain(target.note), width - 42) if width >= _NOTED else ""
        room = width - 11 - (len(note) + 1 if dotted and note else 0)
        text = highlighted(shorten(plain(target.text), room), self.words)
        left: Row = [(f"{target.kind:<10}", "dim"), *text]
        return spread(left, [(note, "accent")] if note else [], width, least=30)


def highlighted(text: str, words: list[str]) -> Row:
    """A text with every occurrence of the words in the role of a match."""
    if not words:
        return [(text, "text")]
    pattern = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    parts = re.split(f"({pattern})", text, flags=re.IGNORECASE)
    return [(part, "match" if at % 2 else "text") for at, part in enumerate(parts) if part]


class Search(ModalScreen[Hits | None]):
    """Type, choose, go. Every word typed must occur; smaller kinds come first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Close", id="search.close"),
        Binding("down", "move(1)", "Down", show=False, id="search.down"),
        Binding("up", "move(-1)", "Up", show=False, id="search.up"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._known: Searchable | None = None  # not there yet
        self._in_haste = False

    def compose(self) -> ComposeResult:
        """The box and the results."""
        with Vertical(id="search"):
            field = Input(
                placeholder="search findings, parameters, modules, functions, lines", compact=True
            )
            field.cursor_blink = False
            yield field
            yield Results()

    def on_mount(self) -> None:
        """Show something before a letter is typed."""
        self.query_one("#search").border_title = " Search "
        self._show("")

    def fill(self, known: Searchable) -> None:
        """What there is to be found."""
        self._known = known
        self.query_one(Results).none = "Nothing matches."
        self._show(self.query_one(Input).value)
        if self._in_haste:
            self._chosen()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self._show(event.value)

    def _show(self, text: str) -> None:
        words = text.casefold().split()
        found = []
        for folded, target in self._known or ():
            if all(word in folded for word in words):
                found.append(target)
                if len(found) >= _MOST:
                    break
        results = self.query_one(Results)
        results.found, results.words = found, words
        results.rows_changed(0)
        total = f"{len(found):,}{' or more' if len(found) >= _MOST else ''} found"
        box = self.query_one("#search")
        box.border_subtitle = f" {total} · ⏎ go · ↑↓ choose · Esc close "

    def action_move(self, step: int) -> None:
        """Through the results, the box keeping the keys."""
        self.query_one(Results).line += step

    @on(Input.Submitted)
    @on(RowsPane.Chosen)
    def _chosen(self) -> None:
        self._in_haste = self._known is None  # Enter came first: go once it is known whereto
        if self._in_haste:
            return
        results = self.query_one(Results)
        self.dismiss(Hits(results.found, results.line) if results.found else None)
