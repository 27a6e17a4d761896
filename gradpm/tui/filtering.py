"""Filtering the rows of a tree while a pattern is typed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from gradpm.tui.jobs import Jobs
from gradpm.tui.outline_pane import OutlinePane
from gradpm.tui.parameters_pane import ParametersPane
from gradpm.tui.tree_pane import TreePane


def filter_rows(
    pane: TreePane,
    pattern: str,
    jobs: Jobs,
    found: Callable[[int], None],
    failed: Callable[[str], None],
) -> None:
    """Show what matches; `found` is told how many rows do, `failed` what is wrong with a pattern.

    A graph's rows are matched beside the app: there may be two million of them.
    """
    if isinstance(pane, ParametersPane):
        try:
            found(pane.filter(pattern))
        except re.error as error:
            failed(f"not a regular expression: {error}")
    elif isinstance(pane, OutlinePane) and pane.view is not None:
        view = pane.view

        def done(match: Any) -> None:
            if pane.view is view:
                found(pane.set_filter(match))

        jobs.start("filter", lambda _: view.text.match(pattern) if pattern else None, done, failed)
