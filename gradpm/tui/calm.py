"""Sentences for traces with nothing to show, or only half of it."""

from __future__ import annotations

from typing import Any

from gradpm.diagnose.finding import Location
from gradpm.errors import GradpmError, NewerTrace, NotATrace
from gradpm.trace.model import ErrorRow
from gradpm.trace.schema import Call, Table
from gradpm.tui.cells import Row, plain, prose
from gradpm.tui.evidence import Evidence
from gradpm.tui.marks import count


def is_whole(evidence: Evidence) -> bool:
    """Whether the file holds the run to its end: only then may one say that nothing is wrong."""
    reader = evidence.trace.reader
    return not (reader.damage or reader.cut_off or _dropped(evidence).get("stopped"))


def is_clean(evidence: Evidence) -> bool:
    """Whether no finding means that all is well: gradients were seen, to the end of the run."""
    return bool(evidence.backward_count) and is_whole(evidence) and uncaught(evidence) is None


def silence(evidence: Evidence) -> list[Row]:
    """What to say where there is no finding; never more than was seen."""
    trace = evidence.trace
    backwards, whole = evidence.backward_count, is_whole(evidence)
    ops = trace.table(Table.OP).rows
    error = uncaught(evidence)
    said: list[Row] = []
    if error is not None:
        words = f"The run ended with {error.type}: {_short(error.message)}"
        said = [[("▲ ", "warning"), (plain(words), "strong")]]
        said.append(prose("gradpm has no explanation for it.", "dim"))
    if not backwards:
        return said + _no_backward(ops, whole)
    looked = f"{count(backwards, 'backward')}, {count(len(trace.leaves), 'leaf')}"
    looked = looked.replace("leafs", "leaves")
    if error is None:
        good = "Nothing is wrong with the gradients of this run."
        part = "Nothing is wrong with the gradients in the part that could be read."
        said.append([("✔ ", "ok"), *prose(good if whole else part, "strong")])
    said.append(prose(f"Looked at: {looked}. Parameters, graph and steps can be browsed.", "dim"))
    return said


def _no_backward(ops: int, whole: bool) -> list[Row]:
    if not whole:
        held = f"holds {count(ops, 'call')} and no" if ops else "holds neither a call nor a"
        words = f"What could be read of this trace {held} `backward()`."
        return [prose(words), prose("There is no gradient to look at.", "dim")]
    if not ops:
        words = "This trace is empty: no tracked call and no backward was recorded."
        return [prose(words), prose("Did the script end before it trained?", "dim")]
    words = f"The run made {count(ops, 'call')}, but never called `backward()`."
    return [prose(words), prose("There is no gradient to look at.", "dim")]


def place_of_silence(evidence: Evidence) -> tuple[Location | None, str]:
    """(a line worth seeing where there is no finding, why): the error, else a backward."""
    error, trace = uncaught(evidence), evidence.trace
    if error is not None:
        return evidence.location(trace.user_frame(error.frame)), f"raised {plain(error.type)}"
    calls = trace.table(Table.BACKWARD)
    frame = calls["frame"][0] if calls.rows else 0
    return evidence.location(trace.user_frame(frame)), "backward is called here"


def no_graph(evidence: Evidence, backward: int) -> str:
    """Why there is no graph of a backward (from 0) to be shown."""
    calls = evidence.trace.table(Table.BACKWARD)
    if not calls.rows:
        return "No backward was called in this run, so there is no graph."
    flags = dict(zip(calls["number"], calls["flags"], strict=True)).get(backward, 0)
    if flags & Call.NO_GRAPH:
        return "The loss has no graph: nothing that it was computed from required a gradient."
    return "This trace holds no graph of this backward; n and p go to others."


def uncaught(evidence: Evidence) -> ErrorRow | None:
    """The exception that ended the run."""
    return next((e for e in reversed(evidence.trace.errors) if e.uncaught), None)


def _short(message: str) -> str:
    first = message.strip().partition("\n")[0]
    return first if len(first) <= 200 else first[:199] + "…"


def _dropped(evidence: Evidence) -> dict[str, Any]:
    found = evidence.diagnosis.run.get("dropped")
    return found if isinstance(found, dict) else {}


def troubles_of(evidence: Evidence) -> str:
    """What is missing in a file, in one sentence; empty for a whole one."""
    reader = evidence.trace.reader
    name = plain(evidence.trace.path.name)
    if reader.damage:
        skipped = sum(one.skipped_bytes for one in reader.damage)
        return f"{name} is damaged: {skipped:,} bytes could not be read."
    dropped = _dropped(evidence)
    if reader.cut_off and not dropped.get("stopped"):
        return f"{name} ends in mid-run (killed, or still running): shown up to its last flush."
    if dropped.get("stopped"):
        why = dropped["stopped"]
        why = why.get("fault", "") if isinstance(why, dict) else why
        return f"{name} was recorded in part only: recording stopped early ({plain(str(why))})."
    if dropped.get("ops"):
        return f"{name}: {dropped['ops']:,} calls were not kept, so some lines may be missing."
    return ""


def refusal(error: GradpmError) -> list[Row]:
    """What to say where a file cannot be shown at all."""
    titles: dict[type[GradpmError], str] = {
        NotATrace: "This is not a gradpm trace.",
        NewerTrace: "This trace was made by a newer gradpm.",
    }
    title = titles.get(type(error), "This trace cannot be read.")
    rows: list[Row] = [[("✖ ", "error"), (title, "strong")], [], prose(error.sentence)]
    if error.hint:
        rows += [[], prose(error.hint, "dim")]
    return rows
