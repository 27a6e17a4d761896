"""The report as one HTML page: self-contained, no script, no request, light or dark.

A trace may come from a stranger: control characters are made visible and every string is escaped;
the page's own policy forbids whatever might still slip through.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape as quoted
from importlib import resources
from typing import Any

from gradpm import __version__
from gradpm.diagnose import Finding, Location, Step, Subject
from gradpm.report.as_text import MARKS, SIGNS
from gradpm.report.headline import facts, gaps, headline, nothing
from gradpm.report.spans import spans
from gradpm.report.view import Run
from gradpm.trace.text import escape

MOST_SUBJECTS = 40
MOST_CALLS = 100
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def to_html(run: Run) -> str:
    """The whole page."""
    return "\n".join(
        (
            "<!doctype html>",
            '<html lang="en">',
            *_head(run),
            "<body>",
            *_top(run),
            "<main>",
            *(part for number, one in enumerate(run.findings, 1) for part in _finding(number, one)),
            *_calls(run.backwards),
            "</main>",
            f"<footer>gradpm {__version__}</footer>",
            "</body>",
            "</html>\n",
        )
    )


def text(value: str) -> str:
    """Any string, safe between tags and inside quotes."""
    return quoted(escape(value), quote=True)


def prose(sentence: str) -> str:
    """A sentence whose backticked pieces are set as code."""
    return "".join(
        f"<code>{text(span.text)}</code>" if span.is_code else text(span.text)
        for span in spans(sentence)
    )


def source_line(source: str) -> str:
    """A line of Python, coloured by classes that the style sheet knows."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    formatter: Any = HtmlFormatter(nowrap=True)
    return str(highlight(escape(source), PythonLexer(stripnl=False), formatter)).rstrip("\n")


def _head(run: Run) -> Iterator[str]:
    style = (resources.files("gradpm.report") / "style.css").read_text(encoding="utf-8")
    yield "<head>"
    yield '<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="color-scheme" content="light dark">'
    yield f"<title>gradpm: {text(headline(run))} · {text(_script(run))}</title>"
    yield f"<style>\n{style}</style>"
    yield "</head>"


def _script(run: Run) -> str:
    return str(run.run.get("script") or "").replace("\\", "/").rsplit("/", 1)[-1]


def _top(run: Run) -> Iterator[str]:
    worst = str(run.findings[0].severity) if run.findings else "fine"
    yield f'<header class="top {worst}">'
    yield f'<p class="brand">gradpm <span>{text(_script(run))}</span></p>'
    yield f"<h1>{text(headline(run))}</h1>"
    if not run.findings:
        yield f"<p>{text(nothing(run))}</p>"
    yield "<dl>"
    yield from (f"<div><dt>{text(k)}</dt><dd>{text(v)}</dd></div>" for k, v in facts(run) if v)
    yield "</dl>"
    yield from (f'<p class="gap">{text(gap)}</p>' for gap in gaps(run))
    if len(run.findings) > 1:
        yield '<nav aria-label="Findings"><ol>'
        yield from (_entry(number, one) for number, one in enumerate(run.findings, 1))
        yield "</ol></nav>"
    yield "</header>"


def _entry(number: int, finding: Finding) -> str:
    badge = f'<span class="badge {finding.severity}">{text(finding.code)}</span>'
    return f'<li><a href="#finding-{number}">{badge} {prose(finding.title)}</a></li>'


def _finding(number: int, finding: Finding) -> Iterator[str]:
    severity = str(finding.severity)
    yield f'<article class="{severity}" id="finding-{number}">'
    yield (
        f'<p class="kind"><span class="badge {severity}">{SIGNS[severity]} {text(finding.code)}'
        f"</span> {text(finding.name)} · {severity}</p>"
    )
    yield f"<h2>{prose(finding.title)}</h2>"
    if finding.culprit is not None:
        yield _place(finding.culprit)
    yield f"<h3>Why</h3><p>{prose(finding.explanation)}</p>"
    yield f'<h3>Fix</h3><p class="fix">{prose(finding.fix)}</p>'
    yield from _subjects(finding.subjects)
    yield from _path(finding.path)
    yield from _others(finding.locations[1:])
    yield "</article>"


def _place(place: Location) -> str:
    function = f" in <code>{text(place.function)}</code>" if place.function else ""
    caption = f"<figcaption><b>{text(place.file)}:{place.line}</b>{function}</figcaption>"
    if not place.source:
        return f"<figure>{caption}</figure>"
    number = f'<span class="number">{place.line}</span>'
    return f"<figure>{caption}<pre>{number}{source_line(place.source)}</pre></figure>"


def _subjects(subjects: Sequence[Subject]) -> Iterator[str]:
    if not subjects:
        return
    yield '<h3>Who</h3><ul class="who">'
    for subject in subjects[:MOST_SUBJECTS]:
        shape = str(list(subject.shape)) if subject.shape is not None else ""
        kind = " ".join(word for word in (shape, subject.dtype) if word)
        yield f"<li><code>{text(subject.name)}</code> <span>{text(kind)}</span></li>"
    if len(subjects) > MOST_SUBJECTS:
        yield f"<li>and {len(subjects) - MOST_SUBJECTS} more</li>"
    yield "</ul>"


def _path(path: Iterable[Step]) -> Iterator[str]:
    steps = [_step(step) for step in path]
    if steps:
        yield '<h3>Path</h3><ol class="path">'
        yield from steps
        yield "</ol>"


def _step(step: Step) -> str:
    mark = MARKS.get(step.kind, "│")
    detail = f' <span class="detail">{text(step.detail)}</span>' if step.detail else ""
    where = f' <span class="at">{text(step.location.short())}</span>' if step.location else ""
    kind = step.kind if step.kind in MARKS else "op"
    return (
        f'<li class="{kind}"><span class="mark" aria-hidden="true">{mark}</span> '
        f"<code>{text(step.label)}</code>{detail}{where}</li>"
    )


def _others(places: Sequence[Location]) -> Iterator[str]:
    if not places:
        return
    yield "<h3>Other places</h3>"
    for place in places:
        yield f'<p class="role">{text(place.role)}</p>'
        yield _place(place)


CALL_COLUMNS = {
    "number": "#", "file": "at", "loss": "loss", "nodes": "nodes", "parameters": "parameters",
    "none": "None", "zero": "zero", "nonfinite": "NaN, Inf", "milliseconds": "ms",
}  # fmt: skip


def _calls(calls: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The engine calls: all, or as many from either end."""
    if not calls:
        return
    yield f'<details class="calls"><summary>{len(calls)} engine calls</summary>'
    yield '<div class="wide"><table><thead><tr>'
    yield "".join(f"<th>{label}</th>" for label in CALL_COLUMNS.values())
    yield "</tr></thead><tbody>"
    half = MOST_CALLS // 2
    few = len(calls) <= MOST_CALLS
    yield from map(_call, calls if few else calls[:half])
    if not few:
        skipped = len(calls) - 2 * half
        yield f'<tr><td colspan="{len(CALL_COLUMNS)}">{skipped} more</td></tr>'
        yield from map(_call, calls[-half:])
    yield "</tbody></table></div></details>"


def _call(call: dict[str, Any]) -> str:
    shown = dict(call)
    name = str(call.get("file") or "").replace("\\", "/").rsplit("/", 1)[-1]
    shown["file"] = f"{name}:{call.get('line', 0)}"
    if isinstance(call.get("loss"), float):
        shown["loss"] = f"{call['loss']:.6g}"
    cells = (shown.get(key) for key in CALL_COLUMNS)
    row = "".join(f"<td>{'' if cell is None else text(str(cell))}</td>" for cell in cells)
    return f'<tr class="{"raised" if call.get("raised") else ""}">{row}</tr>'
