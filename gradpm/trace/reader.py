"""Reads a trace: sealed, cut off by a kill, still growing, damaged or hostile.

Opening finds the frames, through the index or by a scan. Directories and columns are read
and checked when they are first asked for. Whatever fails is left out and told in `damage`.
"""

from __future__ import annotations

import os
import stat
from array import array
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gradpm.errors import DamagedColumn, NewerTrace, NotATrace, TraceError
from gradpm.trace import layout
from gradpm.trace.layout import Head
from gradpm.trace.text import escape

_FIRST_WINDOW, _LARGEST_WINDOW = 1 << 12, 1 << 20


@dataclass(frozen=True, slots=True)
class Damage:
    """A place (byte offset) where the file is not what it should be, and what that cost."""

    offset: int
    reason: str
    skipped_bytes: int


@dataclass(frozen=True, slots=True)
class FrameInfo:
    """One frame of a table: its rows are `first_row` to `first_row + rows - 1`."""

    table: int
    rows: int
    first_row: int
    offset: int


@dataclass(slots=True)
class _Frame:
    """A frame found; `end` is where the next one may start, so that no two share bytes."""

    info: FrameInfo
    end: int
    head: Head | None = None
    directory: bytes = b""
    raw: int = 0


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
        self.sealed = False
        self.damage: list[Damage] = []
        self._name = f"'{escape(os.fsdecode(self.path))}'"
        self._reported: set[tuple[int, str]] = set()
        self._cache: OrderedDict[tuple[int, str], array[Any]] = OrderedDict()
        self._cached_bytes = self._tries = 0
        self._tables: dict[int, list[_Frame]] = {}
        self._checked: dict[int, list[_Frame]] = {}
        self._fd, self._size = _open(self.path, self._name)
        try:
            self.version = self._read_version()
            frames = self._by_index()
            self._accept(self._scan() if frames is None else frames)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> LogReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; twice is harmless."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

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
        found = (name for frame in self._frames(table) for name in _directory(frame))
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
        self, frames: list[_Frame], name: str, typecode: str, *, per_row: bool = False
    ) -> Iterator[tuple[_Frame, array[Any] | None]]:
        """Each frame with its part of a column; raises DamagedColumn at MAX_RESULT bytes."""
        total = 0
        for frame in frames:
            part: array[Any] | None = None
            entry = _directory(frame).get(name)
            if entry is not None:
                try:
                    if per_row and entry.count != frame.info.rows:
                        raise DamagedColumn("it does not have one value per row")
                    part = layout.retype(self._decoded(frame, name, entry), typecode)
                except DamagedColumn as error:
                    reason = f"column {name!r}: {error.sentence}"
                    self._report(frame.info.offset, reason, entry.stored)
            total += layout.WIDTH[typecode] * (frame.info.rows if part is None else len(part))
            if total > layout.MAX_RESULT:
                raise self._too_large(name)
            yield frame, part

    def _decoded(self, frame: _Frame, name: str, entry: layout.Entry) -> array[Any]:
        """A decoded column, from the cache or the file; not to be changed or handed out."""
        key = (frame.info.offset, name)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        assert frame.head is not None
        entry.validate()
        body = frame.info.offset + layout.HEAD_SIZE + frame.head.directory
        values = layout.decode(entry, self._read(body + entry.start, entry.stored))
        self._cache[key] = values
        self._cached_bytes += entry.raw
        while self._cached_bytes > layout.MAX_CACHE:
            _, old = self._cache.popitem(last=False)
            self._cached_bytes -= len(old) * old.itemsize
        return values

    def _frames(self, table: int) -> list[_Frame]:
        """The frames of a table that stand up to a look at their directories."""
        if table not in self._checked:
            self._checked[table] = [f for f in self._tables.get(table, ()) if self._check(f)]
        return self._checked[table]

    def _check(self, frame: _Frame) -> bool:
        """Read a frame's head and directory, and whether its rows can be believed."""
        at = frame.info.offset
        try:
            head = frame.head or self._head(at, frame.end)
            if head.kind != layout.DATA or frame.info != _info(head, at):
                raise DamagedColumn("the index disagrees with a frame")
            self._load_directory(frame, head)
            for entry in _directory(frame).values():
                with suppress(DamagedColumn):  # told when the column is asked for
                    entry.validate()
                    frame.raw += entry.raw
            if head.rows > max(layout.FREE_ROWS, frame.raw):
                raise DamagedColumn("a frame claims more rows than it has bytes")
        except DamagedColumn as error:
            self._report(at, error.sentence, frame.end - at)
            return False
        return True

    def _load_directory(self, frame: _Frame, head: Head) -> None:
        frame.head = head
        frame.directory = self._read(frame.info.offset + layout.HEAD_SIZE, head.directory)
        if layout.crc(frame.directory) != head.dir_crc:
            raise DamagedColumn("a frame directory is damaged")

    # -- finding the frames ----------------------------------------------------------

    def _read_version(self) -> tuple[int, int]:
        """Check the file's first bytes; raises NotATrace or NewerTrace."""
        head = self._read(0, min(self._size, layout.FILE_HEAD.size))
        if head[:8] != layout.MAGIC or len(head) < layout.FILE_HEAD.size:
            hint = "Name the file that gradpm wrote; it usually ends in .gpm."
            raise NotATrace(f"{self._name} is not a gradpm trace, or its start is gone.", hint)
        _, major, minor, _ = layout.FILE_HEAD.unpack(head)
        if major > layout.MAJOR:
            raise self._newer()
        if major < 1:
            hint = "The file is damaged at its start; look for another copy."
            raise NotATrace(f"{self._name} has a header that no gradpm has written.", hint)
        return major, minor

    def _by_index(self) -> list[_Frame] | None:
        """The frames of a sealed file; None when there is no index that can be trusted."""
        end = self._size - layout.TRAILER.size
        if end < layout.FILE_HEAD.size + layout.HEAD_SIZE:
            return None
        at = layout.parse_trailer(self._read(end, layout.TRAILER.size))
        if at is None:
            return None
        try:
            return self._load_index(at, end)
        except DamagedColumn as error:
            self._report(end, f"the index is damaged: {error.sentence}", layout.TRAILER.size)
            return None

    def _load_index(self, at: int, end: int) -> list[_Frame]:
        head = self._head(at, end)
        if head.needs_newer:
            raise self._newer()
        # Before its columns are unpacked: an index cannot list more than the file can hold.
        most = min(layout.MAX_FRAMES, self._size // layout.HEAD_SIZE)
        if head.kind != layout.INDEX or head.rows > most:
            raise DamagedColumn("the index is not one")
        place = _Frame(_info(head, at), end)
        self._load_directory(place, head)
        columns, found = _directory(place), []
        for name, typecode in zip(("table", "rows", "first", "offset"), "IIQQ", strict=True):
            if name not in columns or columns[name].count != head.rows:
                raise DamagedColumn("its columns differ in length")
            found.append(layout.retype(self._decoded(place, name, columns[name]), typecode))
        ends = [*found[3], at][1:]
        previous = layout.FILE_HEAD.size - layout.HEAD_SIZE
        frames = []
        for table, rows, first, start, stop in zip(*found, ends, strict=True):
            if start < previous + layout.HEAD_SIZE or stop > at or rows > layout.MAX_ROWS:
                raise DamagedColumn("its offsets do not rise")
            frames.append(_Frame(FrameInfo(table, rows, first, start), stop))
            previous = start
        self.sealed = True
        return frames

    def _scan(self) -> list[_Frame]:
        """The frames of a file without an index, found from header to header."""
        at, whole, marks = layout.FILE_HEAD.size, 0, 0
        frames: list[_Frame] = []
        while at < self._size and not self.sealed and len(frames) < layout.MAX_FRAMES:
            try:
                head = self._head(at, self._size)
            except DamagedColumn as error:
                at = self._resync(at, error.sentence)
                continue
            if head.needs_newer:
                raise self._newer()
            if head.kind == layout.DATA:
                frames.append(_Frame(_info(head, at), at + head.size, head))
            elif head.kind == layout.MARK:
                marks, whole = marks + 1, len(frames)
            at += head.size
            self.sealed = head.kind == layout.INDEX  # only written after the last flush
        if len(frames) >= layout.MAX_FRAMES:
            self._report(at, "there are more frames than a trace may have", self._size - at)
        if self.sealed:
            self._check_end(at)
        elif marks:
            # Rows after the last mark may point at strings that never reached the disk.
            del frames[whole:]
        return frames

    def _check_end(self, at: int) -> None:
        """Report what follows the index, unless it is the trailer and the trailer is last."""
        rest = self._read(at, min(self._size - at, layout.TRAILER.size))
        if layout.parse_trailer(rest) is None or self._size - at != len(rest):
            self._report(at, "the end is damaged, or something follows it", self._size - at)

    def _accept(self, frames: list[_Frame]) -> None:
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
            self._report(info.offset, reason, frame.end - info.offset)

    def _resync(self, start: int, reason: str) -> int:
        """Where the next whole frame begins after damage at `start`, or the file's size."""
        at, found, window = start + 1, self._size, _FIRST_WINDOW
        self._tries += 1
        # Windows grow, since many small damages must not each read a megabyte.
        while at < self._size and found == self._size and self._tries <= layout.MAX_RESYNC:
            found = self._search(at, min(window + 3, self._size - at))
            at, window = at + window, min(2 * window, _LARGEST_WINDOW)
        if found < self._size or not self._is_torn(start):
            self._report(start, reason, found - start)
        return found

    def _search(self, at: int, size: int) -> int:
        """The first whole frame that starts in a window, or the file's size."""
        window = self._read(at, size)
        hit = window.find(layout.FRAME_MAGIC)
        while hit >= 0 and self._tries <= layout.MAX_RESYNC:
            self._tries += 1
            with suppress(DamagedColumn):  # a false mark: look on
                self._head(at + hit, self._size)
                return at + hit
            hit = window.find(layout.FRAME_MAGIC, hit + 1)
        return self._size

    def _is_torn(self, at: int) -> bool:
        """Whether the last write was cut short here, which a kill does: no damage."""
        if self._size - at < layout.HEAD_SIZE:
            return layout.FRAME_MAGIC.startswith(self._read(at, min(4, self._size - at)))
        with suppress(DamagedColumn):
            return at + Head(self._read(at, layout.HEAD_SIZE)).size > self._size
        return False

    def _head(self, at: int, limit: int) -> Head:
        """The header at `at` of a frame that ends by `limit`; raises DamagedColumn."""
        if at + layout.HEAD_SIZE > limit:  # before the read: an offset may be over 2**63
            raise DamagedColumn("the file ends inside a frame header")
        head = Head(self._read(at, layout.HEAD_SIZE))
        if at + head.size > limit:
            raise DamagedColumn("a frame reaches past its place")
        return head

    def _read(self, at: int, size: int) -> bytes:
        """Exactly `size` bytes. Not mmap: a file cut under a mapping kills the process."""
        try:
            if hasattr(os, "pread"):
                found = os.pread(self._fd, size, at)
            else:
                os.lseek(self._fd, at, os.SEEK_SET)
                found = os.read(self._fd, size)
        except OSError as error:
            raise DamagedColumn(f"it cannot be read ({error.strerror})") from None
        if len(found) != size:
            raise DamagedColumn("the file has become shorter while it was read")
        return found

    # -- telling ---------------------------------------------------------------------

    def _report(self, offset: int, reason: str, skipped: int) -> None:
        """Note damage once, however often the place is read."""
        if (offset, reason) not in self._reported:
            self._reported.add((offset, reason))
            self.damage.append(Damage(offset, reason, skipped))

    def _too_large(self, name: str) -> DamagedColumn:
        return DamagedColumn(
            f"Column {name!r} of {self._name} claims more rows than the file can hold.",
            "The file was not made by gradpm, or was changed since; do not trust it.",
        )

    def _newer(self) -> NewerTrace:
        return NewerTrace(f"{self._name} was made by a newer gradpm.", "Upgrade gradpm to read it.")


def _info(head: Head, at: int) -> FrameInfo:
    return FrameInfo(head.table, head.rows, head.first_row, at)


def _directory(frame: _Frame) -> dict[str, layout.Entry]:
    """Parsed anew each time: as objects, the directories of a long run would fill memory."""
    assert frame.head is not None
    return layout.parse_directory(frame.directory, frame.head.columns, frame.head.body)


def _open(path: str, name: str) -> tuple[int, int]:
    """A descriptor and the file's size; raises TraceError."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
    # O_NONBLOCK: opening a pipe must not wait for someone to write to it.
    flags |= getattr(os, "O_NONBLOCK", 0)
    try:
        found = os.stat(path)
        if stat.S_ISDIR(found.st_mode):
            raise TraceError(f"{name} is a folder, not a trace.", "Name the trace file inside it.")
        if not stat.S_ISREG(found.st_mode):
            raise TraceError(f"{name} is not a regular file.", "Save the trace to a file first.")
        if found.st_size == 0:
            raise TraceError(f"{name} is empty.", "Nothing was recorded; run the script again.")
        fd = os.open(path, flags)
        return fd, os.fstat(fd).st_size
    except FileNotFoundError:
        raise TraceError(f"There is no file {name}.", "Check the path.") from None
    except PermissionError:
        hint = "Ask its owner for the right to read it."
        raise TraceError(f"You may not read {name}.", hint) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        hint = "Check the path and the disk."
        raise TraceError(f"{name} cannot be read: {reason}.", hint) from None
