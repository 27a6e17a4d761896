"""The report as plain text: for a terminal, a pipe, a screen reader."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from gradpm.diagnose import Finding, Location, Step
from gradpm.report.headline import gaps, nothing
from gradpm.report.view import Run
from gradpm.trace.text import escape

WIDTH = 96
SIGNS = {"error": "✖", "warning": "▲", "note": "●"}
MARKS = {"parameter": "○", "cut": "✂", "left": "┊", "loss": "●", "gap": "⋮"}


def to_text(run: Run, width: int = WIDTH) -> str:
    """Every finding in full, then the run in two lines; prose is folded at `width`."""
    lines: list[str] = []
    for finding in run.findings:
        lines += [*finding_lines(finding, width), ""]
    if not run.findings:
        lines += [nothing(run), ""]
    lines += run_lines(run)
    return "\n".join(lines) + "\n"


def finding_lines(finding: Finding, width: int = WIDTH) -> Iterator[str]:
    """One finding: title, culprit with its source, why, fix, path, other places."""
    sign = SIGNS[str(finding.severity)]
    head = f"{sign} {finding.code} {finding.name} ({finding.severity}): {finding.title}"
    yield from wrapped(head, "", "    ", width)
    if finding.culprit is not None:
        yield from place_lines(finding.culprit)
    yield from wrapped(finding.explanation, "  why   ", "        ", width)
    yield from wrapped(finding.fix, "  fix   ", "        ", width)
    if finding.subjects:
        names = ", ".join(subject.name for subject in finding.subjects[:12])
        more = len(finding.subjects) - 12
        names += f" and {more} more" if more > 0 else ""
        yield from wrapped(names, "  who   ", "        ", width)
    for location in finding.locations[1:]:
        label = f"  {location.role}: {location.short()}"
        yield escape(f"{label}  {location.source}" if location.source else label)
    for step in finding.path:
        yield escape(step_line(step))


def place_lines(place: Location) -> Iterator[str]:
    """The culprit's place and line, its very expression underlined."""
    function = f" in {place.function}" if place.function else ""
    yield escape(f"  {place.file}:{place.line}{function}")
    if place.source:
        yield escape(f"    {place.source}")
        mark = place.marked()
        if mark is not None and mark != (0, len(place.source)) and place.source.isprintable():
            yield "    " + " " * mark[0] + "^" * (mark[1] - mark[0])


def step_line(step: Step) -> str:
    """One station of the path."""
    mark = MARKS.get(step.kind, "│")
    where = step.location.short() if step.location is not None else ""
    detail = f"  {step.detail}" if step.detail else ""
    return f"  {mark} {step.label:<34} {where:<22}{detail}".rstrip()


def run_lines(run: Run) -> Iterator[str]:
    """What was run, and what was not recorded."""
    facts = run.run
    yield escape(
        f"{facts.get('script', '')}: {facts.get('backwards', 0)} engine calls, "
        f"{facts.get('ops', 0)} ops, torch {facts.get('torch', '?')}, "
        f"Python {facts.get('python', '?')}, {facts.get('device', '')}"
    )
    yield from (escape(gap) for gap in gaps(run))


def wrapped(text: str, first: str, rest: str, width: int = WIDTH) -> list[str]:
    """Text folded at the width."""
    return textwrap.wrap(
        escape(text), width, initial_indent=first, subsequent_indent=rest,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
