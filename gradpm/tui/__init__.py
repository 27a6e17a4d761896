"""The terminal app behind `gradpm open`. The only room where textual is imported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def open_traces(paths: Sequence[Path]) -> int:
    """Show traces (several: the ranks or processes of one run) until the user quits."""
    from gradpm.tui.app import GradpmApp

    app = GradpmApp(paths)
    app.run(mouse=app.config.mouse)
    return app.return_code or 0
