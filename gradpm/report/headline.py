"""What every form says of a run as a whole: the count, the facts, the gaps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from gradpm.report.view import Run
from gradpm.trace.text import escape

NOTHING = "No finding: every gradient that was expected arrived."


def headline(run: Run) -> str:
    """`2 errors, 1 note`; what there is to say when there is nothing to tell."""
    counts = Counter(str(finding.severity) for finding in run.findings)
    told = [
        f"{counts[severity]} {severity}{'s' if counts[severity] > 1 else ''}"
        for severity in ("error", "warning", "note")
        if counts[severity]
    ]
    return ", ".join(told) or ("no explanation" if run.run.get("exception") else "nothing wrong")


def nothing(run: Run) -> str:
    """What to say when there is no finding: never more than was seen."""
    exception = run.run.get("exception")
    if exception:
        kind = escape(str(exception.get("type", "an exception")))
        return f"No finding: the script raised {kind}, and gradpm has no explanation for it."
    return NOTHING


def facts(run: Run) -> Iterator[tuple[str, str]]:
    """(label, text) pairs on what was run; only those that are known."""
    known = run.run
    yield "script", str(known.get("script") or "")
    yield "ended", _ending(run)
    yield "engine calls", str(known.get("backwards") or 0)
    yield "ops", str(known.get("ops") or 0)
    for label, key in (("torch", "torch"), ("Python", "python"), ("device", "device")):
        if known.get(key):
            yield label, str(known[key])
    if known.get("rank") is not None:
        yield "rank", str(known["rank"])
    if len(run.paths) > 1:
        yield "traces", str(len(run.paths))
    if known.get("seconds"):
        yield "seconds", f"{known['seconds']:.1f}"


def _ending(run: Run) -> str:
    """How the script ended: its exception, its status, or that it is not known."""
    exception = run.run.get("exception")
    if exception:
        return f"{exception.get('type', '')}: {exception.get('message', '')}"
    status = run.run.get("exit_code")
    return "without an exception" if status in (None, 0) else f"with status {status}"


def gaps(run: Run) -> Iterator[str]:
    """What was not recorded, one sentence each."""
    dropped = run.run.get("dropped") or {}
    stopped = dropped.get("stopped")
    told = stopped if isinstance(stopped, dict) else {}
    if run.run.get("cut_off") and told.get("where") != "trace":  # else it could not be sealed
        yield "The run was killed or still runs: the trace is complete up to its last flush."
    if stopped:
        yield f"Recording stopped early: {told.get('fault', stopped)}"
    if dropped.get("ops"):
        yield f"{dropped['ops']} op rows were not kept."
    if dropped.get("damaged"):
        yield f"{dropped['damaged']} parts of the file are damaged and were left out."
    unmeasured, calls = dropped.get("unmeasured"), run.run.get("backwards")
    if unmeasured:
        yield (
            f"In {unmeasured} of {calls} engine calls gradients were looked at by parameter, not "
            "at every node: --stats all looks at them all."
        )
