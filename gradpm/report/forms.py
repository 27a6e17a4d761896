"""The form that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gradpm.errors import UsageError
from gradpm.report.view import read_all


def render_as(paths: Sequence[Path], form: str) -> str:
    """Text in one of the forms; each is loaded only when asked for."""
    run = read_all(paths)
    if form == "json":
        from gradpm.report.as_json import to_json

        return to_json(run)
    if form == "text":
        from gradpm.report.as_text import to_text

        return to_text(run)
    if form == "markdown":
        from gradpm.report.as_markdown import to_markdown

        return to_markdown(run)
    if form == "html":
        from gradpm.report.as_html import to_html

        return to_html(run)
    if form == "sarif":
        from gradpm.report.as_sarif import to_sarif

        return to_sarif(run)
    forms = "text, json, markdown, html or sarif"
    raise UsageError(f"there is no report in the form `{form}`", forms)
