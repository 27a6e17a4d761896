"""What a row of a trace is once it is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from gradpm.trace.schema import FileKind, LeafKind


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a Python stack; columns are 1-based, 0 when not known."""

    row: int
    parent: int
    file: int
    path: str
    kind: FileKind
    function: str
    line: int
    end_line: int
    column: int
    end_column: int
    first_line: int


@dataclass(frozen=True, slots=True)
class Spec:
    """Shape, dtype, device and layout of a tensor."""

    shape: tuple[int, ...]
    dtype: str
    device: str
    layout: str

    def __str__(self) -> str:
        return f"[{', '.join(map(str, self.shape))}] {self.dtype}"


@dataclass(frozen=True, slots=True)
class LeafRow:
    """A parameter, buffer or other leaf that the recorder knows by itself."""

    serial: int
    kind: LeafKind
    spec: Spec
    frame: int  # where it was made
    flags: int
    op: int


class Event(NamedTuple):
    """Something that happened beside the ops: a step, a freeze, a mode entered.

    A tuple, since a long run has hundreds of thousands: it is made in a quarter of the time.
    """

    kind: str
    frame: int
    op: int
    backward: int
    object: int
    detail: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """An exception that was seen; `uncaught` ended the program."""

    row: int
    type: str
    message: str
    frame: int
    op: int
    backward: int
    uncaught: bool
    detail: dict[str, Any]
