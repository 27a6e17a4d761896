"""Findings out: one view model, many forms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["explain", "render", "verdict", "worst"]


def render(paths: Sequence[Path], form: str) -> str:
    """The report on these traces as text, json, markdown, html or sarif."""
    from gradpm.report.forms import render_as

    return render_as(paths, form)


def verdict(paths: Sequence[Path], exit_status: str = "", *, color: bool = False) -> str:
    """At most twelve lines for the end of a run: culprit first."""
    from gradpm.report.verdict import verdict_of
    from gradpm.report.view import read_all

    return verdict_of(read_all(paths), exit_status, color=color)


def worst(paths: Sequence[Path]) -> str | None:
    """`error`, `warning` or `note`: the most severe finding; None when there is none."""
    from gradpm.report.view import read_all

    run = read_all(paths)
    return str(run.findings[0].severity) if run.findings else None


def explain(code: str) -> str:
    """The documentation page of a code; raises UsageError for one that is not known."""
    from gradpm.report.pages import page

    return page(code)
