"""Where the frames of a trace are: through its index, or by a scan from header to header."""

from __future__ import annotations

from array import array
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gradpm.errors import DamagedColumn, NotATrace
from gradpm.trace import layout
from gradpm.trace.layout import Head
from gradpm.trace.opened import OpenFile

_FIRST_WINDOW, _LARGEST_WINDOW = 1 << 12, 1 << 20


@dataclass(frozen=True, slots=True)
class FrameInfo:
    """One frame of a table: its rows are `first_row` to `first_row + rows - 1`."""

    table: int
    rows: int
    first_row: int
    offset: int


@dataclass(slots=True)
class Frame:
    """A frame found; `end` is where the next one may start, so that no two share bytes."""

    info: FrameInfo
    end: int
    head: Head | None = None
    directory: bytes = b""
    raw: int = 0


class FrameFinder:
    """Looks for the frames of one file, once; `sealed` says whether it has a proper end."""

    def __init__(self, file: OpenFile) -> None:
        self.file = file
        self.sealed = False
        self._tries = 0

    def find(self) -> list[Frame]:
        """Every frame of data whose flush is whole, in the order of the file."""
        frames = self._by_index()
        return self._scan() if frames is None else frames

    def _by_index(self) -> list[Frame] | None:
        """The frames of a sealed file; None when there is no index that can be trusted."""
        end = self.file.size - layout.TRAILER.size
        if end < layout.FILE_HEAD.size + layout.HEAD_SIZE:
            return None
        at = layout.parse_trailer(self.file.read(end, layout.TRAILER.size))
        if at is None:
            return None
        try:
            return self._load_index(at, end)
        except DamagedColumn as error:
            self.file.report(end, f"the index is damaged: {error.sentence}", layout.TRAILER.size)
            return None

    def _load_index(self, at: int, end: int) -> list[Frame]:
        head = head_at(self.file, at, end)
        if head.needs_newer:
            raise self.file.newer()
        # Before its columns are unpacked: an index cannot list more than the file can hold.
        most = min(layout.MAX_FRAMES, self.file.size // layout.HEAD_SIZE)
        if head.kind != layout.INDEX or head.rows > most:
            raise DamagedColumn("the index is not one")
        place = Frame(info_of(head, at), end)
        load_directory(self.file, place, head)
        columns, found = directory_of(place), []
        for name, typecode in zip(("table", "rows", "first", "offset"), "IIQQ", strict=True):
            if name not in columns or columns[name].count != head.rows:
                raise DamagedColumn("its columns differ in length")
            found.append(layout.retype(column_of(self.file, place, columns[name]), typecode))
        ends = [*found[3], at][1:]
        previous = layout.FILE_HEAD.size - layout.HEAD_SIZE
        frames = []
        for table, rows, first, start, stop in zip(*found, ends, strict=True):
            if start < previous + layout.HEAD_SIZE or stop > at or rows > layout.MAX_ROWS:
                raise DamagedColumn("its offsets do not rise")
            frames.append(Frame(FrameInfo(table, rows, first, start), stop))
            previous = start
        self.sealed = True
        return frames

    def _scan(self) -> list[Frame]:
        """The frames of a file without an index, found from header to header."""
        at, whole, marks = layout.FILE_HEAD.size, 0, 0
        frames: list[Frame] = []
        while at < self.file.size and not self.sealed and len(frames) < layout.MAX_FRAMES:
            try:
                head = head_at(self.file, at, self.file.size)
            except DamagedColumn as error:
                at = self._resync(at, error.sentence)
                continue
            if head.needs_newer:
                raise self.file.newer()
            if head.kind == layout.DATA:
                frames.append(Frame(info_of(head, at), at + head.size, head))
            elif head.kind == layout.MARK:
                marks, whole = marks + 1, len(frames)
            at += head.size
            self.sealed = head.kind == layout.INDEX  # only written after the last flush
        if len(frames) >= layout.MAX_FRAMES:
            self.file.report(at, "there are more frames than a trace may have", self.file.size - at)
        if self.sealed:
            self._check_end(at)
        elif marks:
            # Rows after the last mark may point at strings that never reached the disk.
            del frames[whole:]
        return frames

    def _check_end(self, at: int) -> None:
        """Report what follows the index, unless it is the trailer and the trailer is last."""
        rest = self.file.read(at, min(self.file.size - at, layout.TRAILER.size))
        if layout.parse_trailer(rest) is None or self.file.size - at != len(rest):
            self.file.report(at, "the end is damaged, or something follows it", self.file.size - at)

    def _resync(self, start: int, reason: str) -> int:
        """Where the next whole frame begins after damage at `start`, or the file's size."""
        at, found, window = start + 1, self.file.size, _FIRST_WINDOW
        self._tries += 1
        # Windows grow, since many small damages must not each read a megabyte.
        while at < self.file.size and found == self.file.size and self._tries <= layout.MAX_RESYNC:
            found = self._search(at, min(window + 3, self.file.size - at))
            at, window = at + window, min(2 * window, _LARGEST_WINDOW)
        if found < self.file.size or not self._is_torn(start):
            self.file.report(start, reason, found - start)
        return found

    def _search(self, at: int, size: int) -> int:
        """The first whole frame that starts in a window, or the file's size."""
        window = self.file.read(at, size)
        hit = window.find(layout.FRAME_MAGIC)
        while hit >= 0 and self._tries <= layout.MAX_RESYNC:
            self._tries += 1
            with suppress(DamagedColumn):  # a false mark: look on
                head_at(self.file, at + hit, self.file.size)
                return at + hit
            hit = window.find(layout.FRAME_MAGIC, hit + 1)
        return self.file.size

    def _is_torn(self, at: int) -> bool:
        """Whether the last write was cut short here, which a kill does: no damage."""
        if self.file.size - at < layout.HEAD_SIZE:
            return layout.FRAME_MAGIC.startswith(self.file.read(at, min(4, self.file.size - at)))
        with suppress(DamagedColumn):
            return at + Head(self.file.read(at, layout.HEAD_SIZE)).size > self.file.size
        return False


def read_version(file: OpenFile) -> tuple[int, int]:
    """Check the file's first bytes; raises NotATrace or NewerTrace."""
    head = file.read(0, min(file.size, layout.FILE_HEAD.size))
    if head[:8] != layout.MAGIC or len(head) < layout.FILE_HEAD.size:
        hint = "Name the file that gradpm wrote; it usually ends in .gpm."
        raise NotATrace(f"{file.name} is not a gradpm trace, or its start is gone.", hint)
    _, major, minor, _ = layout.FILE_HEAD.unpack(head)
    if major > layout.MAJOR:
        raise file.newer()
    if major < 1:
        hint = "The file is damaged at its start; look for another copy."
        raise NotATrace(f"{file.name} has a header that no gradpm has written.", hint)
    return major, minor


def head_at(file: OpenFile, at: int, limit: int) -> Head:
    """The header at `at` of a frame that ends by `limit`; raises DamagedColumn."""
    if at + layout.HEAD_SIZE > limit:  # before the read: an offset may be over 2**63
        raise DamagedColumn("the file ends inside a frame header")
    head = Head(file.read(at, layout.HEAD_SIZE))
    if at + head.size > limit:
        raise DamagedColumn("a frame reaches past its place")
    return head


def info_of(head: Head, at: int) -> FrameInfo:
    """What a header says of its frame's rows."""
    return FrameInfo(head.table, head.rows, head.first_row, at)


def load_directory(file: OpenFile, frame: Frame, head: Head) -> None:
    """Read the directory of a frame; raises DamagedColumn."""
    frame.head = head
    frame.directory = file.read(frame.info.offset + layout.HEAD_SIZE, head.directory)
    if layout.crc(frame.directory) != head.dir_crc:
        raise DamagedColumn("a frame directory is damaged")


def directory_of(frame: Frame) -> dict[str, layout.Entry]:
    """Parsed anew each time: as objects, the directories of a long run would fill memory."""
    assert frame.head is not None
    return layout.parse_directory(frame.directory, frame.head.columns, frame.head.body)


def column_of(file: OpenFile, frame: Frame, entry: layout.Entry) -> array[Any]:
    """One decoded column of a frame; raises DamagedColumn."""
    assert frame.head is not None
    entry.validate()
    body = frame.info.offset + layout.HEAD_SIZE + frame.head.directory
    return layout.decode(entry, file.read(body + entry.start, entry.stored))
