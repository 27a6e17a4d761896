"""The terminal app behind `gradpm open`. The only room where textual is imported."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from gradpm.errors import NoTerminal


def open_traces(paths: Sequence[Path]) -> int:
    """Show traces (several: the ranks or processes of one run) until the user quits.

    Raises `NoTerminal` where there is nothing to draw on or no keys to read.
    """
    _ask_for_terminal(paths)
    from gradpm.tui.app import GradpmApp

    app = GradpmApp(paths)
    app.run(mouse=app.config.mouse)
    if app.ended_by is not None:  # whoever sent the signal sees that it was heeded
        signal.signal(app.ended_by, signal.SIG_DFL)
        os.kill(os.getpid(), app.ended_by)
    return app.return_code or 0


def _ask_for_terminal(paths: Sequence[Path]) -> None:
    if os.environ.get("TEXTUAL_DRIVER"):  # drawn elsewhere: in a browser, in a test
        return
    way_out = f"gradpm report {shlex.quote(str(paths[0]))} prints the same as text"
    streams = {"stdin": sys.__stdin__, "stdout": sys.__stdout__, "stderr": sys.__stderr__}
    for name, stream in streams.items():
        if stream is None or stream.closed or not stream.isatty():
            raise NoTerminal(f"the app needs a terminal, and {name} is none", way_out)
    if os.environ.get("TERM") == "dumb":
        raise NoTerminal("the app needs a terminal that can place text; TERM is dumb", way_out)
