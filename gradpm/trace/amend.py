"""Adding to a sealed trace what only the parent of the run knows: how it ended."""

from __future__ import annotations

import json
import os
from array import array
from typing import Any

from gradpm.errors import TraceError
from gradpm.trace.reader import LogReader
from gradpm.trace.schema import Table
from gradpm.trace.writer import LogWriter


def add_meta(path: str | os.PathLike[str], facts: dict[str, Any]) -> bool:
    """Add facts about the run to a sealed trace; False when it is not sealed or not writable.

    The index makes room for the new frames and is written anew behind them. A trace
    that was cut off is left as it is: nothing may stand behind a torn tail.
    """
    try:
        with LogReader(path) as reader:
            if not reader.sealed or reader.damage:
                return False
            frames = [frame for table in reader.tables() for frame in reader.frames(table)]
            first_string = reader.rows(Table.STRING)
        writer = LogWriter.resume(path, sorted(frames, key=lambda frame: frame.offset))
    except (TraceError, OSError):
        return False
    texts = [text.encode() for pair in facts.items() for text in (pair[0], json.dumps(pair[1]))]
    lengths = array("I", map(len, texts))
    writer.frame(Table.STRING, len(texts), [("length", lengths), ("utf8*", b"".join(texts))])
    keys = array("I", range(first_string, first_string + len(texts), 2))
    values = array("I", (key + 1 for key in keys))
    writer.frame(Table.META, len(keys), [("key", keys), ("value", values)])
    writer.close()
    return writer.stopped is None
