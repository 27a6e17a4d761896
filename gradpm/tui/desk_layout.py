"""Where the panes of the main screen stand, and how one moves between them."""

from __future__ import annotations

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.screen import Screen

from gradpm.tui.bars import HeaderLine, KeyLine
from gradpm.tui.browser import TABS, Browser
from gradpm.tui.detail_pane import DetailPane
from gradpm.tui.evidence import Evidence, merge
from gradpm.tui.findings_pane import FindingsPane
from gradpm.tui.header import header_parts
from gradpm.tui.jobs import Jobs
from gradpm.tui.ops_pane import OpsPane
from gradpm.tui.path_pane import PathPane
from gradpm.tui.rows_pane import RowsPane
from gradpm.tui.source_pane import SourcePane

_WIDE = 100  # columns from which all panes are on show
PANES = ("findings", "detail", "path", "source", "ops", *TABS)


class DeskLayout(Screen[None]):
    """Two columns from 100 columns on, stacked below, one pane at a time below 60."""

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (60, "-middle"), (100, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-low"), (32, "-high")]  # noqa: RUF012

    def __init__(self, several: list[Evidence], jobs: Jobs) -> None:
        super().__init__()
        self.several = several
        self.jobs = jobs
        self.at = 0
        self.backward = 0
        self.told = merge(several)
        self._at = ""  # the pane that the focus was in last

    def compose(self) -> ComposeResult:
        """Two columns, or one."""
        yield HeaderLine(id="header")
        with Container(id="body"):
            with Vertical(id="left"):
                yield FindingsPane(id="findings")
                yield Browser(self.jobs, self.several, id="browser")
            with Vertical(id="right"):
                yield DetailPane(id="detail")
                yield PathPane(id="path")
                yield SourcePane(id="source")
                yield OpsPane(id="ops")
        yield KeyLine(id="keys")

    @property
    def evidence(self) -> Evidence:
        """The trace that is shown."""
        return self.several[self.at]

    @property
    def findings(self) -> FindingsPane:
        """The list of findings."""
        return self.query_one("#findings", FindingsPane)

    @property
    def source(self) -> SourcePane:
        """The source pane."""
        return self.query_one("#source", SourcePane)

    @property
    def path(self) -> PathPane:
        """The path pane."""
        return self.query_one("#path", PathPane)

    @property
    def browser(self) -> Browser:
        """Parameters, graph and steps."""
        return self.query_one("#browser", Browser)

    def _first_focus(self) -> None:
        if self.focused is self.findings and self.size.width < 60 and self.told:
            self.query_one("#detail", RowsPane).focus()
        elif self.focused is None:
            self.findings.focus()

    def show_header(self) -> None:
        """What run this is."""
        left, right = header_parts(self.evidence, self.several, self.backward, len(self.told))
        self.query_one("#header", HeaderLine).show(left, right)

    def action_focus_pane(self, name: str) -> None:
        """Go to a pane, showing it where the screen is small."""
        if name in TABS:
            self.browser.show_tab(name)
        self._mark_focus(name)
        self.query_one(f"#{name}").focus()

    def action_zoom(self) -> None:
        """Give the pane in focus the whole screen, or take it back."""
        focused = self.focused.id if self.focused is not None else None
        left = focused in TABS
        zoomed = self.has_class("-zoom-left") or self.has_class("-zoom-right")
        for pane in self.query("#right > .pane"):
            pane.set_class(not zoomed and pane.id == focused, "-zoomed")
        self.set_class(not zoomed and left, "-zoom-left")
        self.set_class(not zoomed and not left and focused != "findings", "-zoom-right")

    @on(events.DescendantFocus)
    def _focus_moved(self, event: events.DescendantFocus) -> None:
        if event.widget.id in PANES:
            self._mark_focus(event.widget.id)

    def _mark_focus(self, name: str) -> None:
        """Where the focus is decides what is on show, on a screen where not all panes are.

        One change of classes, and none where it changes nothing: each restyles every pane.
        """
        self._at = name
        if self.size.width >= _WIDE:
            return
        wanted = {f"-at-{name}", *(["-browsing"] if name in TABS else [])}
        ours = {one for one in self.classes if one.startswith("-at-") or one == "-browsing"}
        if wanted != ours:
            self.set_classes((self.classes - ours) | wanted)

    def on_resize(self, event: events.Resize) -> None:
        """Below 100 columns panes are stacked."""
        self.set_class(event.size.width < _WIDE, "-stacked")
        if self._at:
            self._mark_focus(self._at)

    def action_leave(self) -> None:
        """Out of the filter, out of the zoom, back to the findings."""
        if self.browser.close_filter():
            return
        if self.has_class("-zoom-left") or self.has_class("-zoom-right"):
            self.action_zoom()
        else:
            self.action_focus_pane("findings")

    def _complain(self, sentence: str) -> None:
        self.notify(sentence, markup=False, severity="warning")
