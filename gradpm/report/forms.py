"""The form that was asked for."""

from __future__ import annotations

from gradpm.errors import UsageError
from gradpm.report.view import Run


def render_as(run: Run, form: str, columns: int | None = None) -> str:
    """Text in one of the forms, each loaded only when asked for; raises UsageError.

    `columns` is the width of the terminal that is to show it; only the plain text minds it.
    """
    if form == "json":
        from gradpm.report.as_json import to_json

        return to_json(run)
    if form == "text":
        from gradpm.report.as_text import WIDTH, to_text

        return to_text(run, min(columns or WIDTH, WIDTH))
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
