"""The bytes of a `trace.gpm` file: layouts, codes, limits, and one column to and from bytes.

    file      = MAGIC, major u16, minor u16, reserved u32, frame*, [trailer]
    frame     = head (32 B), crc(head) u32, crc(directory) u32, directory, body
    directory = per column: name length u8, name, dtype, codec, transform u8,
                count, raw size, stored size, crc(stored) u32
    trailer   = "GPME", crc(offset) u32, offset of the index frame u64

All numbers are little-endian. CRC-32 finds accidents, not malice: every limit below is
checked before anything is allocated, since a hostile file has perfect checksums.

The writer lives in the user's training process, so this file imports nothing heavy
(no dataclasses, no typing).
"""

from __future__ import annotations

import struct
import sys
import zlib
from array import array

from gradpm.errors import DamagedColumn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAGIC = b"\x89GPM\r\n\x1a\n"
"""First 8 bytes: like PNG's, it shows transfers that cut the high bit or mend line ends."""
MAJOR, MINOR = 1, 0

FILE_HEAD = struct.Struct("<8sHHI")
FRAME = struct.Struct("<4sBBHIIQII")
CHECKS = struct.Struct("<II")
ENTRY = struct.Struct("<BBBIIII")
TRAILER = struct.Struct("<4sIQ")
HEAD_SIZE = FRAME.size + CHECKS.size

FRAME_MAGIC = b"GPMF"
END_MAGIC = b"GPME"

DATA, INDEX, MARK = 1, 2, 4
"""Frame kinds: rows of a table; where all data frames are; "one flush is whole"."""
KINDS = frozenset({DATA, INDEX, MARK})
MUST_UNDERSTAND = 0x80
"""Frame flag: a reader that does not know this kind must refuse the file, not skip the frame."""

TYPECODES = "BHIQbhiqfd"
"""A column's dtype is its place in this string, which may only ever grow at its end."""
WIDTH = {"B": 1, "H": 2, "I": 4, "Q": 8, "b": 1, "h": 2, "i": 4, "q": 8, "f": 4, "d": 8}
INTEGERS = frozenset("BHIQbhiq")

RAW, ZLIB = 0, 1
"""Codecs."""
NONE, SHUFFLE, DELTA = 0, 1, 2
"""Transforms. DELTA is reserved: no writer makes it and this reader loses such a column."""

MAX_RAW = MAX_BODY = 64 << 20
"""Bytes of one decoded column, and of one frame's body."""
MAX_ROWS = 1 << 22
"""Rows of one frame."""
MAX_COLUMNS = 256
MAX_DIRECTORY = 1 << 16
MAX_RATIO, RATIO_SLACK = 1_100, 64
"""raw <= 1,100 * stored + 64: deflate cannot exceed 1,032 to 1, so more is a bomb."""
FREE_ROWS = 256
"""A frame may claim this many rows freely; beyond it, no more rows than it has raw bytes."""
MAX_TOTAL_ROWS = 1 << 27
"""Rows of one file, over all its tables."""
MAX_FRAMES = 1 << 20
MAX_RESYNC = 10_000
"""Places tried, in one file, while looking for the next whole frame after damage."""
MAX_RESULT = MAX_TOTAL_ROWS * 8
"""Bytes that one call may return, over all frames of a table."""
MAX_CACHE = 128 << 20
"""Bytes of decoded columns that a reader keeps."""

crc = zlib.crc32


class Head:
    """What a frame's header says, limits checked; sizes in bytes."""

    __slots__ = ("body", "columns", "dir_crc", "directory", "first_row", "flags", "kind", "rows",
                 "table")  # fmt: skip

    def __init__(self, packed: bytes) -> None:
        """Parse HEAD_SIZE bytes; raises DamagedColumn."""
        if len(packed) < HEAD_SIZE:
            raise DamagedColumn("the file ends inside a frame header")
        magic, self.kind, self.flags, self.columns, self.table, self.rows, *rest = (
            FRAME.unpack_from(packed)
        )
        self.first_row, self.directory, self.body = rest
        head_crc, self.dir_crc = CHECKS.unpack_from(packed, FRAME.size)
        if magic != FRAME_MAGIC or crc(packed[: FRAME.size]) != head_crc:
            raise DamagedColumn("a frame header is damaged")
        if (
            self.columns > MAX_COLUMNS
            or self.directory > MAX_DIRECTORY
            or self.body > MAX_BODY
            or self.rows > MAX_ROWS
        ):
            raise DamagedColumn("a frame header is over the limits")

    @property
    def size(self) -> int:
        """Bytes of the whole frame."""
        return HEAD_SIZE + int(self.directory) + int(self.body)

    @property
    def needs_newer(self) -> bool:
        """Whether the frame must be understood, and this version cannot."""
        return bool(self.flags & MUST_UNDERSTAND) and (
            self.kind not in KINDS or self.flags != MUST_UNDERSTAND
        )


class Entry:
    """One column of a frame's directory; `start` is its first byte within the body."""

    __slots__ = ("check", "code", "codec", "count", "raw", "start", "stored", "transform")

    def __init__(self, directory: bytes, at: int, start: int) -> None:
        """Parse the fixed part at `at`; raises struct.error when it is cut off."""
        (self.code, self.codec, self.transform, self.count, self.raw, self.stored, self.check) = (
            ENTRY.unpack_from(directory, at)
        )
        self.start = start

    def validate(self) -> str:
        """Its typecode, once it is certain that decoding it stays within the limits.

        Raises DamagedColumn: unknown dtype, a size over its limit, sizes that disagree.
        """
        if self.code >= len(TYPECODES):
            raise DamagedColumn("its dtype is not known")
        typecode = TYPECODES[self.code]
        if self.raw > MAX_RAW or self.raw > self.stored * MAX_RATIO + RATIO_SLACK:
            raise DamagedColumn("it claims to unpack to more than is allowed")
        if self.count * WIDTH[typecode] != self.raw:
            raise DamagedColumn("its count and its size disagree")
        return typecode


def parse_directory(directory: bytes, columns: int, body: int) -> dict[str, Entry]:
    """Name every column of a frame, whose body has `body` bytes.

    Raises DamagedColumn when the structure is wrong. A column that is wrong in itself
    only fails its own `validate`.
    """
    found: dict[str, Entry] = {}
    at = start = 0
    try:
        for _ in range(columns):
            name_end = at + 1 + directory[at]
            name = directory[at + 1 : name_end].decode()
            entry = Entry(directory, name_end, start)
            if name in found:
                raise DamagedColumn("a frame names a column twice")
            found[name] = entry
            at, start = name_end + ENTRY.size, start + entry.stored
    except (struct.error, IndexError, UnicodeDecodeError):
        raise DamagedColumn("a frame directory is malformed") from None
    if at != len(directory) or start > body:
        raise DamagedColumn("a frame directory disagrees with its header")
    return found


def parse_trailer(packed: bytes) -> int | None:
    """Where the index frame is; None when these bytes are no trailer."""
    if len(packed) != TRAILER.size:
        return None
    magic, check, offset = TRAILER.unpack(packed)
    if magic != END_MAGIC or crc(packed[8:]) != check:
        return None
    return int(offset)


def shuffle(raw: bytes, width: int) -> bytes:
    """All first bytes, then all second bytes, ...: small numbers become long runs of zeros."""
    return raw if width == 1 else b"".join([raw[byte::width] for byte in range(width)])


def unshuffle(raw: bytes, width: int) -> bytes | bytearray:
    """Undo `shuffle`; `len(raw)` must be a multiple of `width`."""
    if width == 1:
        return raw
    count, mixed, view = len(raw) // width, bytearray(len(raw)), memoryview(raw)
    for byte in range(width):
        mixed[byte::width] = view[byte * count : (byte + 1) * count]
    return mixed


def to_bytes(values: array[Any]) -> bytes:
    """An array as little-endian bytes."""
    if sys.byteorder == "big" and values.itemsize > 1:
        values = values[:]
        values.byteswap()
    return values.tobytes()


def decode(entry: Entry, stored: bytes) -> array[Any]:
    """The values of one column; raises DamagedColumn rather than return one wrong value."""
    typecode = entry.validate()
    if len(stored) != entry.stored or crc(stored) != entry.check:
        raise DamagedColumn("its checksum is wrong")
    if entry.codec not in (RAW, ZLIB) or entry.transform not in (NONE, SHUFFLE):
        raise DamagedColumn("its encoding is not known; a newer gradpm may read it")
    raw: bytes | bytearray = stored if entry.codec == RAW else _inflate(stored, entry.raw)
    if len(raw) != entry.raw:
        raise DamagedColumn("its length is not what its directory says")
    if entry.transform == SHUFFLE:
        raw = unshuffle(bytes(raw), WIDTH[typecode])
    values: array[Any] = array(typecode)
    values.frombytes(raw)
    if sys.byteorder == "big" and values.itemsize > 1:
        values.byteswap()
    return values


def _inflate(stored: bytes, size: int) -> bytes:
    """Unpack, never to more than `size` + 1 bytes whatever the stream says."""
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(stored, size + 1)
    except zlib.error as error:
        raise DamagedColumn(f"it cannot be unpacked ({error})") from None
    if not stream.eof or stream.unused_data:
        raise DamagedColumn("its length is not what its directory says")
    return raw


def retype(values: array[Any], typecode: str) -> array[Any]:
    """The same numbers under `typecode`; the array itself when it has it already.

    Integers go to integers and 'f' goes to 'd'. Raises DamagedColumn for any other pair,
    for a number that does not fit, and for a result over MAX_RAW.
    """
    if values.typecode == typecode:
        return values
    both = {values.typecode, typecode}
    if not both <= INTEGERS and (values.typecode, typecode) != ("f", "d"):
        raise DamagedColumn(f"it is stored as {values.typecode!r}, not as {typecode!r}")
    if len(values) * WIDTH[typecode] > MAX_RAW:
        raise DamagedColumn("it would widen to more than is allowed")
    try:
        return array(typecode, values)
    except OverflowError:
        raise DamagedColumn(f"it holds numbers that do not fit {typecode!r}") from None
