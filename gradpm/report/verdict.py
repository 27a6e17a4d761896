"""The verdict at the end of a run: at most twelve lines, the culprit first."""

from __future__ import annotations

import os

from gradpm.diagnose import Finding
from gradpm.report.as_text import SIGNS, wrapped
from gradpm.report.view import Run
from gradpm.trace.text import escape

MOST = 12
COLORS = {"error": "\x1b[1;31m", "warning": "\x1b[1;33m", "note": "\x1b[1;36m"}
RESET = "\x1b[0m"


def verdict_of(run: Run, exit_status: str = "", *, color: bool = False) -> str:
    """What a person reads when the run has ended."""
    name = _relative(str(run.paths[0])) if run.paths else ""
    loud = [finding for finding in run.findings if str(finding.severity) != "note"]
    if not loud:
        return escape(f"gradpm: {_quiet(run)} · {name}") + "\n"
    lines = _first(loud[0], color)
    tail = [_others(loud, run), f"gradpm open {name}"]
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


def _first(finding: Finding, color: bool) -> list[str]:
    severity = str(finding.severity)
    lines = wrapped(f"gradpm: {SIGNS[severity]} {finding.code} {finding.title}", "", "    ")
    if color:
        lines = [f"{COLORS[severity]}{line}{RESET}" for line in lines]
    place = finding.culprit
    if place is not None:
        lines.append(escape(f"  {_relative(place.file)}:{place.line}  {place.source}"))
    lines += wrapped(finding.explanation, "  why  ", "       ")[:4]
    lines += wrapped(finding.fix, "  fix  ", "       ")[:2]
    return lines


def _others(loud: list[Finding], run: Run) -> str:
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
