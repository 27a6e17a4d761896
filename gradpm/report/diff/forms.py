"""The comparison in the form that was asked for."""

from __future__ import annotations

from gradpm.errors import UsageError
from gradpm.report.as_text import WIDTH
from gradpm.report.diff.difference import Difference


def render_as(
    difference: Difference, form: str, columns: int | None = None, *, color: bool = False
) -> str:
    """Text (for so many columns) or JSON; raises UsageError for another form."""
    if form == "json":
        from gradpm.report.diff.as_json import to_json

        return to_json(difference)
    if form == "text":
        from gradpm.report.diff.as_text import to_text

        return to_text(difference, min(columns or WIDTH, WIDTH), color=color)
    raise UsageError(f"there is no comparison in the form `{form}`", "text or json")
