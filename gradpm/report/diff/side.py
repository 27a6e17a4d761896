"""One of the two runs that are compared: its diagnosis, and what stays open of its trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gradpm.diagnose import Finding
from gradpm.report.diff.gradients import Gradients, read_gradients
from gradpm.report.view import Run, read_all
from gradpm.trace.model import Trace
from gradpm.trace.schema import FileKind


@dataclass(frozen=True)
class Side:
    """A run: parameters and sources are those of its first trace, findings those of all."""

    run: Run
    gradients: dict[str, Gradients]  # by the parameter's name
    sources: dict[str, list[str]]  # lines of the user's files that the trace holds, by path

    @property
    def script(self) -> str:
        """The path of what was run, with slashes."""
        return slashed(str(self.run.run.get("script") or ""))

    @property
    def calls(self) -> int:
        """How many engine calls there were."""
        return len(self.run.backwards)

    @property
    def filling(self) -> int:
        """How many of them filled `.grad`."""
        return sum(c["kind"] == "backward" and not c["raised"] for c in self.run.backwards)

    @property
    def losses(self) -> list[float]:
        """What the backward calls whose loss was read began with, in order."""
        return [
            float(call["loss"])
            for call in self.run.backwards
            if call["kind"] == "backward" and call["loss"] is not None
        ]

    @property
    def exception(self) -> str:
        """The type of what ended the script; empty when nothing did."""
        raised = self.run.run.get("exception")
        return str(raised.get("type") or "an exception") if raised else ""

    @property
    def loud(self) -> tuple[Finding, ...]:
        """Errors and warnings."""
        return tuple(one for one in self.run.findings if str(one.severity) != "note")


def read_side(paths: Sequence[Path]) -> Side:
    """Read and diagnose the traces of one run; raises TraceError."""
    run = read_all(paths)
    trace = Trace(paths[0])
    try:
        users = [path for path, kind in trace.files if kind is FileKind.USER]
        sources = {path: trace.source_lines(path) for path in users if trace.source(path)}
        return Side(run, read_gradients(trace), sources)
    finally:
        trace.close()


def slashed(path: str) -> str:
    """A path of any system with slashes."""
    return path.replace("\\", "/")


def base(path: str) -> str:
    """The last part of a path."""
    return PurePosixPath(slashed(path)).name
