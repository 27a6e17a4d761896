"""Writes a trace: an append-only log that any `kill -9` leaves readable.

Each `commit` is one write: the frames of a flush, then a mark that says "this flush is
whole". Nothing that is on disk is ever changed, so there is nothing to repair.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from array import array

from gradpm.errors import OutputError
from gradpm.trace import layout
from gradpm.trace.descriptor import create, file_of, reason_of, reopen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from gradpm.trace.frames import FrameInfo

_SMALL = 32
"""Bytes; setting up deflate costs more than such a column could save."""
_LARGEST_U32 = 0xFFFF_FFFF


class LogWriter:
    """An open trace. One thread at a time; a disk that fails never disturbs the run.

    `size` is the number of bytes committed. `stopped` says why recording ended early
    (None while all is well): from then on frames are dropped in silence.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, level: int = 1, overwrite: bool = True
    ) -> None:
        """Create `path`; `level` is zlib's. Raises OutputError when that is impossible."""
        self.size = 0
        self.stopped: str | None = None
        self._level = level
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._marks = 0
        self._next_row: dict[int, int] = {}
        self._rows_in_all = 0
        self._index = (array("I"), array("I"), array("Q"), array("Q"))
        self._path = os.path.abspath(path)
        self._fd: int | None = create(path, overwrite)
        self._file = file_of(self._fd)
        head = layout.FILE_HEAD.pack(layout.MAGIC, layout.MAJOR, layout.MINOR, 0)
        if not self._append(head):
            reason, self.stopped = self.stopped, None
            self.abandon()
            hint = "Free some space, or write the trace to another disk."
            raise OutputError(f"Cannot write the trace {os.fspath(path)!r}: {reason}.", hint)

    @classmethod
    def resume(cls, path: str | os.PathLike[str], frames: Sequence[FrameInfo]) -> LogWriter:
        """Go on behind the frames of a sealed trace, whose index is cut off.

        Raises OSError when the file cannot be written, or has no trailer.
        """
        writer = cls.__new__(cls)
        fd = os.open(path, os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0))
        end = os.lseek(fd, -layout.TRAILER.size, os.SEEK_END)
        at = layout.parse_trailer(os.read(fd, layout.TRAILER.size))
        if at is None or not 0 < at <= end:
            os.close(fd)
            raise OSError(f"{os.fspath(path)!r} is not sealed")
        os.ftruncate(fd, at)
        writer.size, writer.stopped, writer._level, writer._fd = at, None, 1, fd
        writer._path, writer._file = os.path.abspath(path), file_of(fd)
        writer._pending, writer._pending_size, writer._marks = [], 0, 0
        writer._next_row, writer._rows_in_all = {}, 0
        writer._index = (array("I"), array("I"), array("Q"), array("Q"))
        for info in frames:
            row = (info.table, info.rows, info.first_row, info.offset)
            for column, value in zip(writer._index, row, strict=True):
                column.append(value)
            writer._next_row[info.table] = info.first_row + info.rows
            writer._rows_in_all += info.rows
        return writer

    @property
    def takes(self) -> bool:
        """Whether the file is open, and nothing has failed so far."""
        return self._fd is not None and self.stopped is None

    def frame(
        self, table: int, rows: int, columns: Sequence[tuple[str, array[Any] | bytes]]
    ) -> None:
        """Encode the next `rows` rows of `table`, to be written by the next `commit`.

        A column may have another number of values than `rows` (ragged columns, text).
        The columns are copied: the caller may clear them at once. Raises ValueError for
        a frame over the limits, which is then not kept.
        """
        if not self.takes:
            return
        packed = self._pack(layout.DATA, table, rows, self._next_row.get(table, 0), columns)
        if self._is_full(rows):
            return
        for column, value in zip(
            self._index,
            (table, rows, self._next_row.get(table, 0), self.size + self._pending_size),
            strict=True,
        ):
            column.append(value)
        self._next_row[table] = self._next_row.get(table, 0) + rows
        self._rows_in_all += rows
        self._pending.append(packed)
        self._pending_size += len(packed)

    def commit(self) -> bool:
        """Write all frames since the last commit, and a mark; whether they are in the file."""
        if not self.takes:
            return False
        if not self._pending:
            return True
        mark = _pack_head(layout.MARK, 0, 0, self._marks + 1, 0, b"", 0)
        if not self._append(b"".join([*self._pending, mark])):
            return False
        self._marks += 1
        return True

    def stop(self, table: int, reason: str) -> bool:
        """Take no more rows, and leave the reason in `table`; whether the file could take that.

        The frame stands for itself. What waits for a commit is dropped: it may be the cause.
        """
        if self._fd is None:
            return False
        self.stopped, self._pending, self._pending_size = self.stopped or reason, [], 0
        text = reason.encode("utf-8", "replace")
        words: list[tuple[str, array[Any] | bytes]] = [
            ("length", array("I", [len(text)])), ("utf8*", text),
        ]  # fmt: skip
        block = self._pack(layout.DATA, table, 1, 0, words)
        block += _pack_head(layout.MARK, 0, 0, self._marks + 1, 0, b"", 0)
        with contextlib.suppress(OSError):
            if os.write(self._fd, block) == len(block):
                self.size += len(block)
                return True
        self._cut()
        return False

    def close(self) -> None:
        """Commit, add the index and the trailer, and let go of the file; twice is harmless.

        A trace that stopped early gets no index: the reader then says that it is cut off.
        """
        if self._fd is None:
            return
        try:
            if self.commit():
                self._append(self._ending())
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Let go of the file without writing: a forked child must leave it to its parent."""
        fd, self._fd = self._fd, None
        self._pending, self._pending_size = [], 0
        if fd is not None and file_of(fd) == self._file:
            try:
                os.close(fd)
            except OSError as error:  # some network disks tell only now that they were full
                self.stopped = self.stopped or reason_of(error)

    def _is_full(self, rows: int) -> bool:
        """Stop, keeping what there is, where no reader would follow."""
        if (
            len(self._index[0]) < layout.MAX_FRAMES
            and self._rows_in_all + rows <= layout.MAX_TOTAL_ROWS
        ):
            return False
        if self.commit():
            self.stopped = "the trace has reached the largest size that its format allows"
        return True

    def _append(self, block: bytes) -> bool:
        """Write `block` whole, or cut the file back to `size`."""
        if not self._has_descriptor():
            self.stopped = "the program closed the descriptor of the trace"
            self._pending, self._pending_size = [], 0
            return False
        assert self._fd is not None
        try:
            view = memoryview(block)
            while view:
                view = view[os.write(self._fd, view) :]
            # One statement, so that Ctrl-C cannot fall between: counted means not pending.
            self.size, self._pending, self._pending_size = self.size + len(block), [], 0
        except OSError as error:
            self._cut()
            self.stopped = reason_of(error)
            self._pending, self._pending_size = [], 0
            return False
        except BaseException:  # a signal handler raised: the frames stay for the next commit
            self._cut()
            raise
        return True

    def _has_descriptor(self) -> bool:
        """Whether ours is still open, or can be opened anew; another's is never touched."""
        if self._fd is not None and file_of(self._fd) != self._file:
            self._fd = reopen(self._path, self._file)
        return self._fd is not None

    def _cut(self) -> None:
        """Take a torn block off the end, so that a later one does not follow a hole."""
        assert self._fd is not None
        try:
            os.ftruncate(self._fd, self.size)
        except OSError as error:  # the reader knows torn tails, but nothing may follow one
            self.stopped = reason_of(error)

    def _ending(self) -> bytes:
        """The index of all data frames, and the trailer that points at it."""
        names = ("table", "rows", "first", "offset")
        columns = list(zip(names, self._index, strict=True))
        index = self._pack(layout.INDEX, 0, len(self._index[0]), 0, columns)
        offset = self.size.to_bytes(8, "little")
        return index + layout.TRAILER.pack(layout.END_MAGIC, layout.crc(offset), self.size)

    def _pack(
        self,
        kind: int,
        table: int,
        rows: int,
        first_row: int,
        columns: Sequence[tuple[str, array[Any] | bytes]],
    ) -> bytes:
        """A whole frame; raises ValueError when a reader would refuse it."""
        if len({name for name, _ in columns}) != len(columns) or len(columns) > layout.MAX_COLUMNS:
            raise ValueError("a frame needs at most 256 columns, each with a name of its own")
        if not (0 <= table <= _LARGEST_U32 and 0 <= rows <= layout.MAX_ROWS):
            raise ValueError(f"table {table} or its {rows:,} rows are out of range")
        entries, bodies, raw = [], [], 0
        for name, values in columns:
            entry, body = _encode(name, values, self._level)
            entries.append(entry)
            bodies.append(body)
            raw += len(values) * (1 if isinstance(values, bytes) else values.itemsize)
        directory, body_size = b"".join(entries), sum(map(len, bodies))
        if len(directory) > layout.MAX_DIRECTORY or body_size > layout.MAX_BODY:
            raise ValueError(f"a frame of {body_size:,} bytes is over the limits")
        if rows > max(layout.FREE_ROWS, raw):
            raise ValueError(f"{rows:,} rows cannot be held by {raw:,} bytes")
        head = _pack_head(kind, table, rows, first_row, len(columns), directory, body_size)
        return b"".join([head, directory, *bodies])


def _encode(name: str, values: array[Any] | bytes, level: int) -> tuple[bytes, bytes]:
    """One column: its directory entry and its stored bytes; raises ValueError."""
    if isinstance(values, bytes):
        raw, typecode, width = values, "B", 1
    else:
        raw, typecode, width = layout.to_bytes(values), values.typecode, values.itemsize
    label = name.encode()
    if not 0 < len(label) <= 255 or layout.WIDTH.get(typecode) != width:
        raise ValueError(f"a column cannot be called {name!r} and hold {typecode!r}")
    if len(raw) > layout.MAX_RAW:
        raise ValueError(f"column {name!r} has {len(raw):,} bytes, over the limit")
    codec, transform, stored = layout.RAW, layout.NONE, raw
    if len(raw) > _SMALL:
        packed = zlib.compress(layout.shuffle(raw, width), level)
        if len(packed) < len(raw):
            transform = layout.NONE if width == 1 else layout.SHUFFLE
            codec, stored = layout.ZLIB, packed
    fixed = layout.ENTRY.pack(
        layout.TYPECODES.index(typecode),
        codec,
        transform,
        len(values),
        len(raw),
        len(stored),
        layout.crc(stored),
    )
    return bytes([len(label)]) + label + fixed, stored


def _pack_head(
    kind: int, table: int, rows: int, first_row: int, columns: int, directory: bytes, body: int
) -> bytes:
    head = layout.FRAME.pack(
        layout.FRAME_MAGIC, kind, 0, columns, table, rows, first_row, len(directory), body
    )
    return head + layout.CHECKS.pack(layout.crc(head), layout.crc(directory))
