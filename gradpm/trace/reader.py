"""Reads a trace: sealed, cut off by a kill, still growing, damaged or hostile.

Opening finds the frames, through the index or by a scan. Directories and columns are read
and checked when they are first asked for. Whatever fails is left out and told in `damage`.
"""

from __future__ import annotations

import os
from array import array
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from gradpm.errors import DamagedColumn
from gradpm.trace import layout
from gradpm.trace.frames import (
    Frame,
    FrameFinder,
    FrameInfo,
    column_of,
    directory_of,
    head_at,
    info_of,
    load_directory,
    read_version,
)
from gradpm.trace.opened import Damage, OpenFile


class LogReader:
    """An open trace, as long as it was when it was opened. Serves one thread at a time.

    `sealed`: the writer closed it. `cut_off`: it did not, so the run was killed or still
    runs, and frames after the last whole flush are left out. `version` is (major, minor).
    Lost frames leave a gap between one frame's rows and the next one's `first_row`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open `path` and find its frames.

        Raises NotATrace, NewerTrace, or TraceError when it cannot be read at all.
        """
        self.path = os.fspath(path)
        self._cache: OrderedDict[tuple[int, str], array[Any]] = OrderedDict()
        self._cached_bytes = 0
        self._tables: dict[int, list[Frame]] = {}
        self._checked: dict[int, list[Frame]] = {}
        self._file = OpenFile(path)
        try:
            self.version = read_version(self._file)
            finder = FrameFinder(self._file)
            self._accept(finder.find())
            self.sealed = finder.sealed
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> LogReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; twice is harmless."""
        self._file.close()

    @property
    def damage(self) -> list[Damage]:
        """What was found to be damaged so far; more may show as columns are read."""
        return self._file.damage

    @property
    def cut_off(self) -> bool:
        """Whether the file has no proper end: the run was killed, or still runs."""
        return not self.sealed

    def tables(self) -> list[int]:
        """The tables that have frames, in rising order."""
        return sorted(self._tables)

    def rows(self, table: int) -> int:
        """How many rows of `table` can be read (lost frames do not count)."""
        return sum(frame.info.rows for frame in self._frames(table))

    def frames(self, table: int) -> list[FrameInfo]:
        """The frames of `table` whose directories are whole, by rising `first_row`."""
        return [frame.info for frame in self._frames(table)]

    def names(self, table: int) -> list[str]:
        """Every column name that occurs in `table`, in order of first appearance."""
        found = (name for frame in self._frames(table) for name in directory_of(frame))
        return list(dict.fromkeys(found))

    def column(self, table: int, name: str, typecode: str, *, fill: bool = True) -> array[Any]:
        """The values of a column, over all frames in order.

        The result has one value per row: a frame where the column is missing, damaged or
        of another length gives zeros. With `fill=False` (ragged columns) a part may have
        any length, and a missing or damaged one gives nothing. Raises DamagedColumn when
        the result would be far larger than the file can justify.
        """
        frames = self._frames(table)
        width, values = layout.WIDTH[typecode], array(typecode)
        # Zeros cost a file nothing: allow what its real columns would take, or a little.
        zeros = max(layout.MAX_RAW, sum(frame.raw for frame in frames))
        for frame, part in self._parts(frames, name, typecode, per_row=fill):
            if part is not None:
                values.extend(part)
            elif fill:
                missing = frame.info.rows * width
                zeros -= missing
                if zeros < 0:
                    raise self._too_large(name)
                values.frombytes(bytes(missing))
        return values

    def blob(self, table: int, name: str) -> bytes:
        """The bytes of a 'B' column over all frames; missing or damaged parts give nothing."""
        return self.column(table, name, "B", fill=False).tobytes()

    def per_frame(self, table: int, name: str, typecode: str) -> list[array[Any]]:
        """One array per frame in `frames(table)`; empty where missing or damaged."""
        parts = self._parts(self._frames(table), name, typecode)
        return [array(typecode) if part is None else part[:] for _, part in parts]

    # -- columns ---------------------------------------------------------------------

    def _parts(
        self, frames: list[Frame], name: str, typecode: str, *, per_row: bool = False
    ) -> Iterator[tuple[Frame, array[Any] | None]]:
        """Each frame with its part of a column; raises DamagedColumn at MAX_RESULT bytes."""
        total = 0
        for frame in frames:
            part: array[Any] | None = None
            entry = directory_of(frame).get(name)
            if entry is not None:
                try:
                    if per_row and entry.count != frame.info.rows:
                        raise DamagedColumn("it does not have one value per row")
                    part = layout.retype(self._decoded(frame, name, entry), typecode)
                except DamagedColumn as error:
                    reason = f"column {name!r}: {error.sentence}"
                    self._file.report(frame.info.offset, reason, entry.stored)
            total += layout.WIDTH[typecode] * (frame.info.rows if part is None else len(part))
            if total > layout.MAX_RESULT:
                raise self._too_large(name)
            yield frame, part

    def _decoded(self, frame: Frame, name: str, entry: layout.Entry) -> array[Any]:
        """A decoded column, from the cache or the file; not to be changed or handed out."""
        key = (frame.info.offset, name)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        values = self._cache[key] = column_of(self._file, frame, entry)
        self._cached_bytes += entry.raw
        while self._cached_bytes > layout.MAX_CACHE:
            _, old = self._cache.popitem(last=False)
            self._cached_bytes -= len(old) * old.itemsize
        return values

    def _frames(self, table: int) -> list[Frame]:
        """The frames of a table that stand up to a look at their directories."""
        if table not in self._checked:
            self._checked[table] = [f for f in self._tables.get(table, ()) if self._check(f)]
        return self._checked[table]

    def _check(self, frame: Frame) -> bool:
        """Read a frame's head and directory, and whether its rows can be believed."""
        at = frame.info.offset
        try:
            head = frame.head or head_at(self._file, at, frame.end)
            if head.kind != layout.DATA or frame.info != info_of(head, at):
                raise DamagedColumn("the index disagrees with a frame")
            load_directory(self._file, frame, head)
            for entry in directory_of(frame).values():
                with suppress(DamagedColumn):  # told when the column is asked for
                    entry.validate()
                    frame.raw += entry.raw
            if head.rows > max(layout.FREE_ROWS, frame.raw):
                raise DamagedColumn("a frame claims more rows than it has bytes")
        except DamagedColumn as error:
            self._file.report(at, error.sentence, frame.end - at)
            return False
        return True

    def _accept(self, frames: list[Frame]) -> None:
        """Sort frames by table; leaves out those whose rows overlap or are too many."""
        next_row: dict[int, int] = {}
        total = 0
        for frame in frames:
            info = frame.info
            end = info.first_row + info.rows
            if info.first_row < next_row.get(info.table, 0):
                reason = "a frame repeats rows"
            elif end > layout.MAX_TOTAL_ROWS or total + info.rows > layout.MAX_TOTAL_ROWS:
                reason = "there are more rows than a trace may have"
            else:
                next_row[info.table], total = end, total + info.rows
                self._tables.setdefault(info.table, []).append(frame)
                continue
            self._file.report(info.offset, reason, frame.end - info.offset)

    def _too_large(self, name: str) -> DamagedColumn:
        return DamagedColumn(
            f"Column {name!r} of {self._file.name} claims more rows than the file can hold.",
            "The file was not made by gradpm, or was changed since; do not trust it.",
        )
