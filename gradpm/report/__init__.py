"""Findings out: one view model, many forms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradpm.diagnose import Severity
    from gradpm.report.diff.difference import Difference

__all__ = ["codes", "compared", "explain", "judged", "level", "render", "verdict"]


def render(paths: Sequence[Path], form: str, columns: int | None = None) -> str:
    """The report on these traces as text (for so many columns), json, markdown, html or sarif."""
    return judged(paths, form, columns)[0]


def judged(
    paths: Sequence[Path], form: str, columns: int | None = None
) -> tuple[str, Severity | None]:
    """The report, and how severe its worst finding is; None when there is none."""
    from gradpm.report.forms import render_as
    from gradpm.report.view import read_all

    run = read_all(paths)
    worst = run.findings[0].severity if run.findings else None
    return render_as(run, form, columns), worst


def compared(before: Sequence[Path], after: Sequence[Path]) -> Difference:
    """Two runs beside each other: what is gone, still there, new; see `diff.forms.render_as`."""
    from gradpm.report.diff.difference import compare

    return compare(before, after)


def level(name: str) -> Severity:
    """`warning` or `error` as findings have it."""
    from gradpm.diagnose import Severity

    return Severity[name.upper()]


def verdict(paths: Sequence[Path], *, color: bool = False, columns: int | None = None) -> str:
    """At most twelve lines for the end of a run: culprit first."""
    from gradpm.report.verdict import verdict_of
    from gradpm.report.view import read_all

    return verdict_of(read_all(paths), color=color, columns=columns)


def codes() -> list[tuple[str, str]]:
    """Every code with its name, in order: `("GP101", "detached")`."""
    from gradpm.report import pages

    return pages.codes()


def explain(code: str) -> str:
    """The documentation page of a code; raises UsageError for one that is not known."""
    from gradpm.report.pages import page

    return page(code)
