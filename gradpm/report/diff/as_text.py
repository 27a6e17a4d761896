"""Two runs beside each other as plain text: the verdict first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from gradpm.diagnose import Finding
from gradpm.report.as_text import SIGNS, place_lines, wrapped
from gradpm.report.diff.difference import Difference, table
from gradpm.report.diff.gradients import Fate
from gradpm.report.diff.matching import Kept, Where
from gradpm.report.diff.outcome import Outcome
from gradpm.report.diff.parameters import ParameterChanges
from gradpm.report.diff.side import base
from gradpm.report.diff.sources import Sources
from gradpm.report.headline import gaps
from gradpm.trace.text import escape

MOST = 8  # of the parameters, or of the notes, that one list shows
MOST_LINES = 40  # of a file's changed source
LONGEST = 200  # characters of a source line
GREEN, RED, YELLOW, CYAN, RESET = "\x1b[32m", "\x1b[31m", "\x1b[1;33m", "\x1b[36m", "\x1b[0m"
COLORS = {
    Outcome.MENDED: "\x1b[1;32m", Outcome.WELL: "\x1b[1;32m", Outcome.PARTLY: YELLOW,
    Outcome.KEPT: YELLOW, Outcome.UNCLEAR: YELLOW, Outcome.WORSE: "\x1b[1;31m",
}  # fmt: skip
FATES = {
    Fate.UNSEEN: "not seen",
    Fate.FROZEN: "frozen",
    Fate.NONE: "None",
    Fate.ZERO: "only zeros",
    Fate.NONFINITE: "NaN or Inf",
    Fate.GRADIENT: "a gradient",
}


def to_text(difference: Difference, width: int, *, color: bool = False) -> str:
    """The whole comparison; prose is folded at `width`."""
    paint = COLORS[difference.outcome] if color else ""
    lines = [_painted(line, paint) for line in wrapped(difference.verdict, "", "", width)]
    sections = (
        _findings(difference, width),
        _table(difference),
        _parameters(difference.parameters, width),
        _gaps(difference, width),
        _sources(difference.sources, color),
    )
    for section in sections:
        told = list(section)
        lines += ["", *told] if told else []
    return "\n".join(lines) + "\n"


def _painted(line: str, paint: str) -> str:
    return f"{paint}{line}{RESET}" if paint and line else line


def _findings(difference: Difference, width: int) -> Iterator[str]:
    found = difference.findings
    for finding in found.gone:
        yield from _finding("gone ", finding, width)
    for kept in found.kept:
        yield from _finding("still", kept.after, width)
        yield from _kept(kept, width)
    for finding in found.new:
        yield from _finding("new  ", finding, width)
        if finding.culprit is not None:
            yield from (f"      {line}" for line in place_lines(finding.culprit))
        yield from wrapped(finding.fix, "        fix  ", "             ", width)


def _finding(label: str, finding: Finding, width: int) -> Iterator[str]:
    sign = SIGNS[str(finding.severity)]
    head = f"{sign} {finding.code} {finding.name} ({finding.severity}): {finding.title}"
    yield from wrapped(head, f"{label} ", "        ", width)


def _kept(kept: Kept, width: int) -> Iterator[str]:
    """Where a finding went, and whom it speaks of now."""
    one, two = kept.before.culprit, kept.after.culprit
    if one is not None and two is not None and kept.where is not Where.SAME:
        what = "the same line" if kept.where is Where.MOVED else "another line"
        told = f"{what}: {two.short()} now, {one.short()} before"
        yield from wrapped(told, "        ", "        ", width)
    if kept.before.severity != kept.after.severity:
        yield f"        {kept.before.severity} before, {kept.after.severity} now"
    yield from _names(kept.fewer, "        no more: ", width)
    yield from _names(kept.more, "        now also: ", width)


def _names(names: Sequence[str], first: str, width: int) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return wrapped(", ".join(names[:MOST]) + more, first, " " * 10, width)


def _table(difference: Difference) -> Iterator[str]:
    rows = [tuple(map(escape, row)) for row in table(difference)]
    if rows:
        widths = [max(len(row[at]) for row in rows) for at in range(3)]
        yield f"{'':{widths[0]}}  {'before':<{widths[1]}}  after"
        for label, one, two in rows:
            yield f"{label:<{widths[0]}}  {one or '-':<{max(widths[1], 6)}}  {two or '-'}"


def _parameters(changes: ParameterChanges, width: int) -> Iterator[str]:
    """Whose gradients came, went or changed much; who is only in one run."""
    for _, group in groupby(sorted(changes.fates, key=_fates_of), key=_fates_of):
        members = list(group)
        was, now = (FATES[fate] for fate in members[0][1:])
        yield from _group([one[0] for one in members], f"{now} now, {was} before", width)
    for change in changes.norms[:MOST]:
        times = change.times
        told = f"{times:.3g} times" if times > 1 else f"1/{1 / times:.3g} of"
        text = f"{change.name}: the gradient's norm is {told} what it was"
        yield from wrapped(f"{text} ({change.before:.3g}, {change.after:.3g})", "", "    ", width)
    if len(changes.norms) > MOST:
        yield f"and {len(changes.norms) - MOST} more norms that changed by more than ten times"
    for name, old, new in changes.reshaped[:MOST]:
        yield escape(f"{name}: {list(new)} now, {list(old)} before")
    if len(changes.reshaped) > MOST:
        yield f"and {len(changes.reshaped) - MOST} more of another shape"
    yield from _group(changes.only_before, "only before", width)
    yield from _group(changes.only_after, "only after", width)


def _fates_of(change: tuple[str, Fate, Fate]) -> tuple[str, str]:
    return change[1].value, change[2].value


def _group(names: Sequence[str], what: str, width: int) -> list[str]:
    if not names:
        return []
    count = "1 parameter" if len(names) == 1 else f"{len(names)} parameters"
    return _names(names, f"{count}, {what}: ", width)


def _gaps(difference: Difference, width: int) -> Iterator[str]:
    for label, side in (("before", difference.before), ("after", difference.after)):
        known = side.run.run
        # that only some calls were looked at node by node is so of any long run
        dropped = {**(known.get("dropped") or {}), "unmeasured": 0}
        for gap in gaps(replace(side.run, run={**known, "dropped": dropped})):
            yield from wrapped(f"{label}: {gap}", "", "    ", width)


def _sources(sources: Sources, color: bool) -> Iterator[str]:
    changed = [pair for pair in sources.pairs if pair.is_changed]
    for pair in changed:
        yield escape(f"--- {_shown(pair.before, pair.after)}  before")
        yield escape(f"+++ {_shown(pair.after, pair.before)}  after")
        yield from (_hunk_line(line, color) for line in pair.hunks[:MOST_LINES])
        if len(pair.hunks) > MOST_LINES:
            yield f"… {len(pair.hunks) - MOST_LINES} more lines"
    for what, paths in (
        ("before", sources.unpaired_before),
        ("after", sources.unpaired_after),
    ):
        yield from _files(paths, what)


def _files(paths: Iterable[str], what: str) -> Iterator[str]:
    names = sorted({base(path) for path in paths})
    if names:
        more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
        yield escape(f"source only {what}: {', '.join(names[:MOST])}{more}")


def _shown(path: str, other: str) -> str:
    """The name alone, where it tells the two apart or is the same."""
    return base(path) if path == other or base(path) != base(other) else path


def _hunk_line(line: str, color: bool) -> str:
    told = escape(line.replace("\t", "    "))
    told = told if len(told) <= LONGEST else f"{told[:LONGEST]}…"
    paint = {"+": GREEN, "-": RED, "@": CYAN}.get(line[:1], "") if color else ""
    return _painted(told, paint)
