"""Sentences for traces with nothing to show, or only half of it."""

from __future__ import annotations

from gradpm.errors import GradpmError, NewerTrace, NotATrace
from gradpm.trace.schema import Table
from gradpm.tui.cells import Row, plain, prose
from gradpm.tui.evidence import Evidence
from gradpm.tui.marks import count


def silence(evidence: Evidence) -> list[Row]:
    """What to say where there is no finding."""
    trace = evidence.trace
    backwards = evidence.backward_count
    ops = trace.table(Table.OP).rows
    if not backwards and not ops:
        words = "This trace is empty: no tracked call and no backward was recorded."
        return [prose(words), prose("Did the script end before it trained?", "dim")]
    if not backwards:
        words = f"The run made {count(ops, 'call')}, but never called `backward()`."
        return [prose(words), prose("There is no gradient to look at.", "dim")]
    looked = f"{count(backwards, 'backward')}, {count(len(trace.leaves), 'leaf')}"
    looked = looked.replace("leafs", "leaves")
    first: Row = [
        ("✔ ", "ok"),
        *prose("Nothing is wrong with the gradients of this run.", "strong"),
    ]
    rest = prose(f"Looked at: {looked}. Parameters, graph and steps can be browsed.", "dim")
    return [first, rest]


def troubles_of(evidence: Evidence) -> str:
    """What is missing in a file, in one sentence; empty for a whole one."""
    reader = evidence.trace.reader
    if reader.damage:
        skipped = sum(one.skipped_bytes for one in reader.damage)
        return f"{plain(evidence.trace.path.name)} is damaged: {skipped:,} bytes could not be read."
    if reader.cut_off:
        name = plain(evidence.trace.path.name)
        return f"{name} ends in mid-run (killed, or still running): shown up to its last flush."
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
