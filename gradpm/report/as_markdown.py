"""The report as Markdown: for an issue, a pull request, a CI summary.

A trace may come from a stranger, so nothing in it becomes markup: words are escaped, and names
and source stand in code spans and fences longer than any backticks inside them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gradpm.diagnose import Finding, Location, Step
from gradpm.report.as_text import MARKS, SIGNS
from gradpm.report.headline import facts, gaps, headline, nothing
from gradpm.report.spans import spans
from gradpm.report.view import Run
from gradpm.trace.text import escape

MOST_SUBJECTS = 12
_SPECIAL = re.compile(r"[\\`*\[\]<>#|~&$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def to_markdown(run: Run) -> str:
    """Every finding in full, then the run."""
    lines = [f"# gradpm: {headline(run)}", ""]
    for finding in run.findings:
        lines += finding_lines(finding)
    if not run.findings:
        lines += [nothing(run), ""]
    lines += run_lines(run)
    return "\n".join(lines) + "\n"


def finding_lines(finding: Finding) -> Iterator[str]:
    """One finding: title, culprit with its source, why, fix, who, path, other places."""
    sign = SIGNS[str(finding.severity)]
    yield f"## {sign} {finding.code} {prose(finding.name)}: {prose(finding.title)}"
    yield ""
    if finding.culprit is not None:
        yield from _place(finding.culprit)
    yield f"**Why.** {prose(finding.explanation)}"
    yield ""
    yield f"**Fix.** {prose(finding.fix)}"
    yield ""
    if finding.subjects:
        yield f"**Who.** {_who(finding)}"
        yield ""
    if finding.path:
        yield from _path(finding.path)
    yield from _others(finding.locations[1:])


def run_lines(run: Run) -> Iterator[str]:
    """What was run, and what was not recorded."""
    yield "---"
    yield ""
    yield " · ".join(f"{label} {code(text)}" for label, text in facts(run) if text)
    for gap in gaps(run):
        yield ""
        yield f"> {prose(gap)}"


def prose(sentence: str) -> str:
    """A sentence whose code stays code and whose words cannot become markup."""
    return "".join(
        code(span.text) if span.is_code else words(span.text) for span in spans(sentence)
    )


def words(text: str) -> str:
    """Text that means nothing but itself; no link, no mention, no tag."""
    text = _SPECIAL.sub(r"\\\g<0>", escape(text))
    return text.replace("@", "`@`").replace("://", "&#58;//")  # mentions are sought after rendering


def code(text: str) -> str:
    """A code span, its fence longer than any run of backticks inside."""
    text = escape(text)
    if not text.strip():
        return ""
    fence = _fence(text, 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _cell(text: str) -> str:
    """A code span inside a table, where a bar would end the cell even in code."""
    return code(text.replace("|", "¦"))


def _fence(text: str, least: int) -> str:
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    return "`" * max(least, longest + 1)


def _place(place: Location) -> Iterator[str]:
    function = f" in {code(place.function)}" if place.function else ""
    yield f"**{code(f'{place.file}:{place.line}')}**{function}"
    yield ""
    if place.source:
        source = escape(place.source)
        fence = _fence(source, 3)
        yield from (f"{fence}python", source, fence, "")


def _who(finding: Finding) -> str:
    shown = ", ".join(code(subject.name) for subject in finding.subjects[:MOST_SUBJECTS])
    more = len(finding.subjects) - MOST_SUBJECTS
    return f"{shown} and {more} more" if more > 0 else shown


def _path(path: tuple[Step, ...]) -> Iterator[str]:
    yield "| | step | at | |"
    yield "| --- | --- | --- | --- |"
    for step in path:
        mark = MARKS.get(step.kind, "│").replace("|", "")
        where = _cell(step.location.short()) if step.location is not None else ""
        yield f"| {mark} | {_cell(step.label)} | {where} | {words(step.detail)} |"
    yield ""


def _others(places: tuple[Location, ...]) -> Iterator[str]:
    for place in places:
        source = f": {code(place.source)}" if place.source else ""
        yield f"- {words(place.role)} {code(place.short())}{source}"
    if places:
        yield ""
