"""What a diagnosis hands out: findings, with the field names of the published JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any


class Severity(IntEnum):
    """How sure it is that something is wrong; the higher, the surer."""

    NOTE = 0
    WARNING = 1
    ERROR = 2

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Location:
    """A place in the user's code; columns are 1-based, 0 when not known."""

    role: str  # culprit, second, library, created, loss, backward, read, step, ...
    file: str
    line: int
    end_line: int = 0
    column: int = 0
    end_column: int = 0
    function: str = ""
    source: str = ""  # the line without its indentation
    indent: int = 0  # of the line, in UTF-8 bytes, as columns are counted

    def marked(self) -> tuple[int, int] | None:
        """Where the very expression stands in `source`, as characters [first, end)."""
        if not self.column or self.end_line not in (0, self.line) or not self.source:
            return None
        raw = self.source.encode("utf-8", "replace")
        first, end = self.column - 1 - self.indent, self.end_column - 1 - self.indent
        if not 0 <= first < end <= len(raw):
            return None
        before = len(raw[:first].decode("utf-8", "replace"))
        return before, before + len(raw[first:end].decode("utf-8", "replace"))

    def short(self) -> str:
        """`model.py:31`."""
        return f"{self.file.replace(chr(92), '/').rsplit('/', 1)[-1]}:{self.line}"


@dataclass(frozen=True, slots=True)
class Subject:
    """One thing that a finding explains."""

    kind: str  # parameter, buffer, tensor, optimizer
    name: str
    shape: tuple[int, ...] | None = None
    dtype: str = ""
    serial: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One station on the way from a parameter to the loss."""

    kind: str  # parameter, op, cut, left, backward, loss, gap
    label: str  # what a person calls it: `relu`, `encoder.fc1.weight`
    detail: str = ""  # shape, norm, why the gradient stops here
    location: Location | None = None
    op: int = -1
    node: int = -1


@dataclass(frozen=True, slots=True)
class Finding:
    """One cause, told once, however many parameters it explains."""

    code: str
    name: str
    severity: Severity
    title: str
    explanation: str
    fix: str
    subjects: tuple[Subject, ...] = ()
    locations: tuple[Location, ...] = ()
    path: tuple[Step, ...] = ()
    backward: int | None = None  # number of the backward call where first seen, from 1
    backwards: int = 0  # in how many

    @property
    def culprit(self) -> Location | None:
        """The line that a person must change."""
        return self.locations[0] if self.locations else None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything said about one trace, most severe first."""

    findings: tuple[Finding, ...]
    run: dict[str, Any] = field(default_factory=dict)
    backwards: tuple[dict[str, Any], ...] = ()

    @property
    def worst(self) -> Finding | None:
        """The finding to show first."""
        return self.findings[0] if self.findings else None
