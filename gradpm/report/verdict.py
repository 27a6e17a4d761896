"""The verdict at the end of a run: at most twelve lines, the culprit first."""

from __future__ import annotations

import os
import shlex

from gradpm.diagnose import Finding
from gradpm.report.as_text import SIGNS, WIDTH, wrapped
from gradpm.report.view import Run
from gradpm.trace.text import escape

MOST = 12
NARROWEST = 40
COLORS = {"error": "\x1b[1;31m", "warning": "\x1b[1;33m", "note": "\x1b[1;36m"}
RESET = "\x1b[0m"


def verdict_of(run: Run, *, color: bool = False, columns: int | None = None) -> str:
    """What a person reads when the run has ended, for a terminal of so many columns."""
    width = min(max(columns or WIDTH, NARROWEST), WIDTH)
    name = _relative(str(run.paths[0])) if run.paths else ""
    loud = [finding for finding in run.findings if str(finding.severity) != "note"]
    if not loud:
        return escape(f"gradpm: {_quiet(run)} · {name}") + "\n"
    lines = _first(loud[0], color, width)
    tail = [_clipped(_others(loud), width), f"gradpm open {shlex.quote(escape(name))}"]
    tail = [line for line in tail if line]
    room = MOST - len(tail)
    if len(lines) > room:
        lines = [*lines[: room - 1], "  …"]
    return "\n".join([*lines, *tail]) + "\n"


def _quiet(run: Run) -> str:
    """What there is to say when no finding is loud: never more than was seen."""
    calls = run.run.get("backwards", 0)
    count = f"{calls} engine call{'s' if calls != 1 else ''}"
    notes = len(run.findings)
    said = f"; {notes} note{'s' if notes > 1 else ''}" if notes else ""
    raised = run.run.get("exception")
    stopped = (run.run.get("dropped") or {}).get("stopped")
    if stopped:
        why = stopped.get("fault", stopped) if isinstance(stopped, dict) else stopped
        return f"recording stopped early ({why}); nothing wrong in the {count} before that{said}"
    if raised:
        return f"the script raised {raised['type']}; gradpm has no explanation for it{said}"
    if run.run.get("cut_off"):
        return f"the run was cut off; nothing wrong in {count} up to there{said}"
    return f"nothing wrong in {count}{said}"


def _first(finding: Finding, color: bool, width: int) -> list[str]:
    severity = str(finding.severity)
    title = f"gradpm: {SIGNS[severity]} {finding.code} {finding.title}"
    lines = _most(wrapped(title, "", "    ", width - 2), 4)
    if color:
        lines = [f"{COLORS[severity]}{line}{RESET}" for line in lines]
    place = finding.culprit
    if place is not None:
        at = escape(f"  {_relative(place.file)}:{place.line}  ")
        lines.append(_clipped(at + escape(place.source), width, len(at)))
    lines += _most(wrapped(finding.explanation, "  why  ", "       ", width - 2), 4)
    lines += _most(wrapped(finding.fix, "  fix  ", "       ", width - 2), 3)
    return lines


def _most(lines: list[str], most: int) -> list[str]:
    """The first lines; the last of them says so where there are more."""
    return lines if len(lines) <= most else [*lines[: most - 1], f"{lines[most - 1]} …"]


def _clipped(line: str, width: int, least: int = 0) -> str:
    """One line that fits, since a terminal would break it; its first `least` characters stay."""
    return line if len(line) <= width else f"{line[: max(width - 1, least)]}…"


def _others(loud: list[Finding]) -> str:
    if len(loud) == 1:
        return ""
    shown = []
    for finding in loud[1:3]:
        place = finding.culprit
        shown.append(f"{finding.code} at {place.short()}" if place else finding.code)
    more = f" and {len(loud) - 3} more" if len(loud) > 3 else ""
    return escape(f"  also: {', '.join(shown)}{more}")


def _relative(path: str) -> str:
    """A path as short as it stays right from here."""
    try:
        short = os.path.relpath(path)
    except ValueError:
        return path
    return short if len(short) < len(path) and not short.startswith("..") else path
