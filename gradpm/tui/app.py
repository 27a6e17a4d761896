"""The app behind `gradpm open`: reads in a worker, then shows the desk."""

from __future__ import annotations

import importlib
import os
import shlex
import signal
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult, SuspendNotSupported, SystemCommand
from textual.binding import Binding, BindingType
from textual.command import Provider
from textual.containers import Container
from textual.screen import Screen
from textual.widgets import Static

from gradpm.errors import GradpmError
from gradpm.tui.bars import HeaderLine
from gradpm.tui.calm import refusal, troubles_of
from gradpm.tui.cells import plain
from gradpm.tui.config import Config, config_path, read_config
from gradpm.tui.editor import EditorCall, editor_call, run_here, start_beside
from gradpm.tui.evidence import Diagnose, Evidence
from gradpm.tui.jobs import Jobs, Progress
from gradpm.tui.rows_pane import RowsPane
from gradpm.tui.themes import ANSI, DEFAULTS, ORDER, all_themes, first_theme


def _commands() -> type[Provider]:
    from gradpm.tui.commands import Commands

    return Commands


if TYPE_CHECKING:
    from gradpm.tui.desk import Desk


class GradpmApp(App[int]):
    """Opens traces, holds themes and keys, runs the editor."""

    CSS_PATH = "app.tcss"
    TITLE = "gradpm"
    COMMANDS: ClassVar[set[Any]] = {_commands}
    COMMAND_PALETTE_BINDING = "ctrl+p,colon"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "edit", "Editor", id="app.edit"),
        Binding("y", "copy", "Copy", id="app.copy"),
        Binding("t", "theme", "Theme", show=False, id="app.theme"),
        Binding("question_mark,f1", "help", "Help", id="app.help"),
        Binding("ctrl+p,colon", "command_palette", "Commands", show=False, id="app.commands"),
        Binding("q", "quit", "Quit", id="app.quit"),
        Binding("ctrl+z", "suspend_process", "Suspend", show=False, id="app.suspend"),
        # before a text field takes them: one who is lost presses these
        Binding("ctrl+c,ctrl+q", "quit", "Quit", show=False, priority=True, id="app.quit_at_once"),
    ]

    def __init__(
        self, paths: Sequence[Path], diagnose: Diagnose | None = None, config: Config | None = None
    ) -> None:
        no_color = "NO_COLOR" in os.environ
        super().__init__(ansi_color=True if no_color else None)
        for theme in all_themes():
            self.register_theme(theme)
        self.config = config if config is not None else read_config(config_path())
        self.theme = first_theme(os.environ, self.config.theme)
        self.set_keymap(self.config.keys)
        self.paths = list(paths)
        self._diagnose = diagnose
        self.several: list[Evidence] = []
        self.problem: GradpmError | None = None
        self.desk: Desk | None = None
        self.jobs = Jobs(self)
        self._waited = 0
        self._is_read = False
        self.ended_by: signal.Signals | None = None

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Our own colour names, for themes that do not know them."""
        return dict(DEFAULTS)

    def compose(self) -> ComposeResult:
        """The first frame: what is being opened."""
        yield HeaderLine(id="header")
        with Container(classes="message"):
            yield Static(self._opening(), id="message", markup=False)

    def _opening(self) -> str:
        more = f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else ""
        return f"Reading {plain(self.paths[0].name)}{more} …" if self.paths else "No trace."

    def on_mount(self) -> None:
        """Paint first, read after."""
        self.call_after_refresh(self._read)
        self._waiting = self.set_interval(1, self._still_reading)
        self._heed_signals()
        if self.config.complaint:
            self.notify(plain(self.config.complaint), markup=False, severity="warning")

    def _still_reading(self) -> None:
        """A trace of a million calls takes some seconds: say that it goes on, and how long."""
        self._waited += 1
        about = "reading" if not self._is_read else "looking for causes"
        self._say(f"{self._opening()} {self._waited} s\n{about} · q  quit")

    def _heed_signals(self) -> None:
        """To be told to end is to leave as with `q`: the terminal must be given back."""
        if os.name != "posix" or self._loop is None or self.is_headless:
            return
        for number in (signal.SIGTERM, signal.SIGHUP):
            self._loop.add_signal_handler(number, self._end_by, number)

    def _end_by(self, number: signal.Signals) -> None:
        self.ended_by = number
        self.exit(return_code=128 + number)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """None of Textual's own: ours say the same with our keys."""
        return ()

    def _read(self) -> None:
        self.jobs.start("read", self._open_all, self._show, self._say)

    def _open_all(self, _: Progress) -> tuple[list[Evidence], list[GradpmError]]:
        """Read and diagnose every trace; a broken one becomes a sentence."""
        several: list[Evidence] = []
        problems: list[GradpmError] = []
        importlib.import_module("gradpm.tui.desk")  # while the first frame is being looked at
        diagnose = self._diagnose or _diagnose()
        for path in self.paths:
            try:
                several.append(Evidence.open(path, diagnose, self._has_read))
            except GradpmError as error:
                problems.append(error)
        return several, problems

    def _has_read(self) -> None:
        self._is_read = True

    def _say(self, text: str) -> None:
        self.screen.query_one("#message", Static).update(text)

    def _show(self, found: tuple[list[Evidence], list[GradpmError]]) -> None:
        self.several, problems = found
        self._waiting.stop()
        if self.several:
            from gradpm.tui.desk import Desk

            cautions = [*(p.sentence for p in problems), *map(troubles_of, self.several)]
            self.desk = Desk(self.several, self.jobs, [c for c in cautions if c])
            self.push_screen(self.desk)
            if self.config.keys:
                self.call_after_refresh(self._question_keys)
        elif problems:
            self.problem = problems[0]
            rows = refusal(problems[0])
            text = "\n".join("".join(t for t, _ in row) for row in rows)
            self.screen.query_one("#message", Static).update(f"{text}\n\nq  quit")

    def _fatal_error(self) -> None:
        """A bug of ours: a short traceback. Textual's own prints every array in sight."""
        file = shlex.quote(plain(str(self.paths[0]))) if self.paths else "TRACE"
        words = f"gradpm's app stopped on a bug. gradpm report {file} tells the same as text."
        self.bell()
        self._exit_renderables.append(Text(f"{traceback.format_exc()}\n{words}"))
        self._close_messages_no_wait()

    def _question_keys(self) -> None:
        """A key that was set for nothing would only be missed much later."""
        from gradpm.tui.commands import names

        unknown = sorted(set(self.config.keys) - names(self.screen))
        if unknown:
            words = f"No key is called {', '.join(unknown)}: ? tells their names."
            self.notify(plain(words), markup=False, severity="warning")

    # -- the way out --------------------------------------------------------------------

    def action_edit(self) -> None:
        """Open the marked line in the user's editor."""
        place = self.desk.source.here if self.desk is not None else None
        if place is None:
            self.notify("No source line is chosen.", markup=False)
            return
        if not Path(place.file).exists():
            self.notify(f"{plain(place.file)} is not on this machine.", markup=False)
            return
        call = editor_call(place.file, place.line, place.column)
        if call is None:
            self.notify("Set $VISUAL or $EDITOR to say which editor to use.", markup=False)
            return
        try:
            failed = self._lend_terminal(call) if call.in_terminal else start_beside(call)
        except SuspendNotSupported:
            failed = "This terminal cannot be lent to an editor."
        if failed:
            self.notify(plain(failed), markup=False, severity="warning")
        elif self.desk is not None:
            self.desk.source.look_again()

    def _lend_terminal(self, call: EditorCall) -> str:
        """Run an editor in our place. An error must not leave the block: it would never resume."""
        with self.suspend():
            return run_here(call)

    async def action_quit(self) -> None:
        """Leave; with the problem's exit code where there was nothing to show."""
        self.exit(return_code=self.problem.exit_code if self.problem is not None else 0)

    def action_copy(self) -> None:
        """Copy `path:line` through the terminal (OSC 52), so over ssh too."""
        place = self.desk.source.here if self.desk is not None else None
        if place is not None:
            text = plain(f"{place.file}:{place.line}")
            self.copy_to_clipboard(text)
            self.notify(f"Copied {text}", markup=False, timeout=2)

    def action_help(self) -> None:
        """Help for the pane in focus."""
        from gradpm.tui.help import HelpScreen, help_rows

        if self.desk is not None and self.screen is self.desk:
            pane = self.desk.focused
            rows = help_rows(
                pane if isinstance(pane, RowsPane) else None,
                self.desk.active_bindings,
                self.size.width,
            )
            self.push_screen(HelpScreen(rows))

    def action_wear(self, theme: str) -> None:
        """Put a theme on; with NO_COLOR only the terminal's own."""
        self.theme = ANSI if "NO_COLOR" in os.environ else theme

    def action_theme(self) -> None:
        """Dark, light, the terminal's own."""
        self.action_wear(ORDER[(ORDER.index(self.theme) + 1) % len(ORDER)])


def _diagnose() -> Diagnose:
    from gradpm.diagnose import diagnose

    return diagnose
