"""One trace with its diagnosis, and what the panes ask of both."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gradpm.diagnose.finding import Diagnosis, Finding, Location
from gradpm.trace.model import Frame, Trace
from gradpm.trace.schema import Table
from gradpm.tui.cells import plain

_RANK = re.compile(r"\brank \d+\b")

Diagnose = Callable[[Trace], Diagnosis]


class Evidence:
    """A trace, opened and diagnosed.

    A reader serves one thread at a time. `trace` belongs to the app's thread and is asked for
    small things only; whatever reads whole tables runs in a worker on `deep()`, a second
    reader of the same file.
    """

    def __init__(self, trace: Trace, diagnosis: Diagnosis) -> None:
        self.trace = trace
        self.diagnosis = diagnosis
        self._deep: Trace | None = None
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls, path: Path, diagnose: Diagnose, has_read: Callable[[], None] = lambda: None
    ) -> Evidence:
        """Read, say so, and diagnose; raises TraceError."""
        trace = Trace(path)
        has_read()
        try:
            diagnosis = diagnose(trace)
        except BaseException:
            trace.close()
            raise
        return cls(trace, diagnosis)

    @contextmanager
    def deep(self) -> Iterator[Trace]:
        """The workers' own reader; one worker at a time."""
        with self._lock:
            if self._deep is None:
                self._deep = Trace(self.trace.path)
            yield self._deep

    def close(self) -> None:
        """Let go of the files."""
        self.trace.close()
        if self._deep is not None:
            self._deep.close()

    @property
    def label(self) -> str:
        """`rank 1`, `pid 123`, or the file's name."""
        rank = self.trace.meta.get("rank")
        if isinstance(rank, int):
            return f"rank {rank}"
        _, dot, pid = self.trace.path.stem.rpartition(".pid")
        return f"pid {pid}" if dot and pid.isdigit() else self.trace.path.stem

    @property
    def script(self) -> str:
        """The script's file name, else the trace's."""
        script = self.trace.meta.get("script")
        name = str(script).replace("\\", "/").rpartition("/")[2] if script else ""
        return name or self.trace.path.name

    @property
    def backward_count(self) -> int:
        """How many engine calls the trace tells of."""
        return self.trace.table(Table.BACKWARD).rows

    def location(self, frame: Frame | None, role: str = "") -> Location | None:
        """A frame as a place in the source."""
        if frame is None:
            return None
        lines = self.trace.source_lines(frame.path)
        source = lines[frame.line - 1].strip() if 0 < frame.line <= len(lines) else ""
        return Location(
            role,
            frame.path,
            frame.line,
            frame.end_line,
            frame.column,
            frame.end_column,
            frame.function,
            source,
        )

    def has_changed(self, path: str) -> bool | None:
        """Whether the file on this disk differs from the one that ran; None: it is not here."""
        source = self.trace.source(path)
        try:
            found = Path(path).read_text(encoding="utf-8", errors="replace")
        except (OSError, ValueError):
            return None
        return bool(source) and found.replace("\r\n", "\n") != source.replace("\r\n", "\n")


@dataclass(frozen=True, slots=True)
class Told:
    """A finding in the list, with the traces (ranks) that tell it; the first is shown."""

    finding: Finding
    traces: tuple[int, ...]


def merge(several: list[Evidence]) -> list[Told]:
    """All findings, most severe first; what several ranks tell alike is told once."""
    found: dict[tuple[object, ...], tuple[Finding, list[int]]] = {}
    for at, evidence in enumerate(several):
        for number, finding in enumerate(evidence.diagnosis.findings):
            place = finding.culprit
            title = _RANK.sub("rank", finding.title)  # each tells it of its own
            key: tuple[object, ...] = (finding.code, title, place and place.short())
            if len(several) == 1:
                key = (number,)
            found.setdefault(key, (finding, []))[1].append(at)
    told = [Told(finding, tuple(dict.fromkeys(traces))) for finding, traces in found.values()]
    return sorted(told, key=lambda one: -one.finding.severity)


def who_tells(told: Told, several: list[Evidence]) -> str:
    """`only in rank 1, of 3 traces`; empty for a single trace."""
    if len(several) < 2:
        return ""
    labels = [plain(several[at].label) for at in told.traces]
    if len(labels) == len(several):
        return f"in all {len(labels):,} traces alike"
    some = ", ".join(labels[:4]) + (" and more" if len(labels) > 4 else "")
    return f"only in {some}, of {len(several):,} traces"
