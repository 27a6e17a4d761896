"""The promises of a trace file: nothing lost on a kill, nothing silently wrong, no trap."""

from __future__ import annotations

import errno
import inspect
import os
import random
import signal
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from array import array
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradpm.errors import DamagedColumn, GradpmError, NewerTrace, NotATrace, OutputError, TraceError
from gradpm.trace import layout
from gradpm.trace.reader import LogReader
from gradpm.trace.text import escape, escape_block
from gradpm.trace.writer import LogWriter

ROOT = Path(__file__).resolve().parent.parent
TYPES = {"id": "Q", "name": "H", "delta": "i", "norm": "d", "text": "B"}


def rows_of(flush: int, count: int = 50) -> list[tuple[str, array[Any] | bytes]]:
    """Columns whose every value says which flush it belongs to."""
    start = flush * count
    return [
        ("id", array("Q", range(start, start + count))),
        ("name", array("H", [row % 7 for row in range(start, start + count)])),
        ("delta", array("i", [-row for row in range(start, start + count)])),
        ("norm", array("d", [row / 3 for row in range(start, start + count)])),
        ("text", random.Random(flush).randbytes(160)),  # stored raw: only its CRC guards it
    ]


def write(path: Path, flushes: int = 12, *, close: bool = True) -> bytes:
    """A trace of one table (number 3); its bytes."""
    writer = LogWriter(path)
    for flush in range(flushes):
        writer.frame(3, 50, rows_of(flush))
        assert writer.commit()
    if close:
        writer.close()
    else:
        writer.abandon()
    return path.read_bytes()


def read_all(path: Path) -> tuple[dict[tuple[int, str], bytes], LogReader]:
    """Every part of table 3 as bytes by (first row, column), through every public way."""
    with LogReader(path) as reader:
        parts = {}
        for name, typecode in TYPES.items():
            per_frame = reader.per_frame(3, name, typecode)
            for info, part in zip(reader.frames(3), per_frame, strict=True):
                if part:
                    parts[info.first_row, name] = part.tobytes()
            if name != "text":
                assert len(reader.column(3, name, typecode)) == reader.rows(3)
        joined = b"".join(part for (_, name), part in sorted(parts.items()) if name == "text")
        assert reader.blob(3, "text") == joined
        return parts, reader


def restamp(head: bytes, directory: bytes) -> bytes:
    """A header's checksums made right again, as an attacker would."""
    fixed = head[: layout.FRAME.size]
    return fixed + layout.CHECKS.pack(zlib.crc32(fixed), zlib.crc32(directory))


def frame(
    entries: Sequence[tuple[str, int, int, int, int, int, bytes]], rows: int, **head: int
) -> bytes:
    """A hand-made frame of (name, code, codec, transform, count, raw, stored bytes)."""
    directory = b"".join(
        bytes([len(name)]) + name.encode() + layout.ENTRY.pack(*fixed, len(data), zlib.crc32(data))
        for name, *fixed, data in entries
    )
    body = b"".join(entry[-1] for entry in entries)
    packed = layout.FRAME.pack(
        b"GPMF",
        head.get("kind", layout.DATA),
        head.get("flags", 0),
        len(entries),
        3,
        rows,
        head.get("first_row", 0),
        len(directory),
        len(body),
    )
    return restamp(packed, directory) + directory + body


def trace_of(path: Path, *frames: bytes) -> Path:
    """A file of these frames."""
    path.write_bytes(layout.FILE_HEAD.pack(layout.MAGIC, 1, 0, 0) + b"".join(frames))
    return path


INTS = {t: (0, 256 ** layout.WIDTH[t] - 1) for t in "BHIQ"}
INTS |= {t: (-(256 ** layout.WIDTH[t]) // 2, 256 ** layout.WIDTH[t] // 2 - 1) for t in "bhiq"}


def arrays() -> st.SearchStrategy[array[Any]]:
    """Arrays of every dtype."""

    def of(typecode: str) -> st.SearchStrategy[array[Any]]:
        values: st.SearchStrategy[Any] = st.floats(width=32 if typecode == "f" else 64)
        if typecode in INTS:
            values = st.integers(*INTS[typecode])
        return st.lists(values, max_size=40).map(lambda found: array(typecode, found))

    return st.sampled_from(layout.TYPECODES).flatmap(of)


@settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.dictionaries(st.text("añ*", min_size=1), arrays(), max_size=5), max_size=5))
def test_what_goes_in_comes_out(tmp_path: Path, frames: list[dict[str, array[Any]]]) -> None:
    path = tmp_path / "t.gpm"
    writer = LogWriter(path)
    for number, columns in enumerate(frames):
        writer.frame(number, 7, list(columns.items()))
    writer.close()
    with LogReader(path) as reader:
        assert reader.sealed and reader.tables() == list(range(len(frames)))
        for number, columns in enumerate(frames):
            assert reader.names(number) == list(columns) and reader.rows(number) == 7
            for name, values in columns.items():
                found = reader.column(number, name, values.typecode, fill=False)
                assert found.tobytes() == values.tobytes()
        assert reader.damage == []


def test_missing_column_keeps_rows_in_line_and_numbers_widen(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "t.gpm")
    writer.frame(1, 2, [("a", array("B", [1, 2]))])
    writer.frame(1, 3, [("a", array("H", [3, 4, 999])), ("b", array("f", [0.5, 1, 2]))])
    writer.close()
    with LogReader(tmp_path / "t.gpm") as reader:
        assert reader.column(1, "a", "q").tolist() == [1, 2, 3, 4, 999]
        assert reader.column(1, "b", "d").tolist() == [0, 0, 0.5, 1, 2]
        assert reader.column(1, "b", "d", fill=False).tolist() == [0.5, 1, 2]
        assert reader.damage == [] and [f.first_row for f in reader.frames(1)] == [0, 2]
        assert reader.column(1, "a", "B").tolist() == [1, 2, 0, 0, 0]
        assert "do not fit 'B'" in reader.damage[0].reason


# The source of `rows_of`, since importing this file would cost each child half a second.
KILLED = f"""
from __future__ import annotations
import random, sys
from array import array
sys.path[:0] = sys.argv[2:]
from gradpm.trace.writer import LogWriter
{inspect.getsource(rows_of)}
writer = LogWriter(sys.argv[1])
for flush in range(10**9):
    writer.frame(2, 1, [("flush", flush.to_bytes(8, "little"))])
    writer.frame(3, 50, rows_of(flush))
    writer.commit()
    if flush == 3:
        print("going", flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_writer_leaves_every_whole_flush(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED]
    for batch in range(5):
        paths = [tmp_path / f"{batch}.{number}.gpm" for number in range(4)]
        running = [
            subprocess.Popen([*command, str(path), str(ROOT)], stdout=subprocess.PIPE)
            for path in paths
        ]
        for number, process in enumerate(running):
            assert process.stdout is not None and process.stdout.readline() == b"going\n"
            with LogReader(paths[number]) as live:
                assert live.cut_off and live.rows(3) >= 200
            time.sleep(random.Random(batch * 4 + number).uniform(0, 0.005))
            process.kill()
            process.wait()
            process.stdout.close()
        for path in paths:
            parts, reader = read_all(path)
            assert reader.cut_off and reader.damage == []
            flushes = len(parts) // len(TYPES)
            assert flushes >= 4 and len(parts) == flushes * len(TYPES)
            assert parts[50 * (flushes - 1), "id"] == rows_of(flushes - 1)[0][1].tobytes()  # type: ignore[union-attr]
            with LogReader(path) as again:  # no flush is half there
                assert len(again.frames(2)) == len(again.frames(3)) == flushes


def test_cut_anywhere_keeps_what_was_committed(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.gpm")
    expected, sealed = read_all(tmp_path / "whole.gpm")
    starts = [info.offset for info in sealed.frames(3)]
    path = tmp_path / "cut.gpm"
    for cut in random.Random(1).sample(range(16, len(whole)), 150):
        path.write_bytes(whole[:cut])
        parts, reader = read_all(path)
        assert parts.items() <= expected.items()
        assert reader.cut_off or cut > len(whole) - 40
        committed = sum(start <= cut for start in starts[1:])  # the next flush has begun
        assert len(parts) >= committed * len(TYPES)


def test_rows_after_the_last_mark_are_left_out(tmp_path: Path) -> None:
    one = frame([("a", 0, 0, 0, 3, 3, b"abc")], 3)
    two = frame([("a", 0, 0, 0, 3, 3, b"xyz")], 3, first_row=3)
    mark = frame([], 0, kind=layout.MARK)
    for frames, expected in [
        ((one, mark, two), b"abc"),
        ((one, mark, two, mark), b"abcxyz"),
        ((one, two), b"abcxyz"),  # without any mark there is no telling
    ]:
        with LogReader(trace_of(tmp_path / "t.gpm", *frames)) as reader:
            assert reader.blob(3, "a") == expected and reader.cut_off and not reader.damage


@pytest.mark.parametrize("close", [True, False])
def test_no_flipped_bit_is_silently_wrong(tmp_path: Path, close: bool) -> None:
    whole = write(tmp_path / "whole.gpm", close=close)
    expected, _ = read_all(tmp_path / "whole.gpm")
    path, rng, kept = tmp_path / "flip.gpm", random.Random(2), 0
    for _ in range(300):
        flipped = bytearray(whole)
        flipped[rng.randrange(16, len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        parts, reader = read_all(path)
        assert parts.items() <= expected.items()
        assert parts == expected or reader.damage
        kept += len(parts)
    assert kept > 0.9 * 300 * len(expected)


def bounded(seconds: float, megabytes: float, read: Callable[[], object]) -> None:
    """Run `read`, which must end cleanly within these bounds."""
    tracemalloc.start()
    start = time.process_time()
    try:
        read()
    except GradpmError as error:
        assert error.sentence
    finally:
        took, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert took < seconds and peak < megabytes * 1e6, (took, peak)


def test_forged_headers_give_clean_errors_only(tmp_path: Path) -> None:
    path, rng = tmp_path / "forged.gpm", random.Random(3)
    sealed = write(tmp_path / "whole.gpm")
    with LogReader(tmp_path / "whole.gpm") as reader:
        offsets = [info.offset for info in reader.frames(3)]
    offsets.append(layout.parse_trailer(sealed[-16:]) or 0)
    odd = [0, 1, 0x7F, 0xFF]
    for _ in range(400):
        forged = bytearray(sealed)
        for at in rng.sample(offsets, 2):
            size = layout.Head(sealed[at : at + layout.HEAD_SIZE]).directory
            span = range(at + 4, at + layout.HEAD_SIZE + size)
            for spot in rng.sample(span, rng.randint(1, 4)):
                forged[spot] = rng.choice([*odd, rng.randrange(256)])
            end = at + layout.HEAD_SIZE
            forged[at:end] = restamp(bytes(forged[at:end]), bytes(forged[end : end + size]))
        path.write_bytes(forged)
        bounded(1, 80, partial(read_all, path))


def test_bombs_are_refused(tmp_path: Path) -> None:
    big = zlib.compress(bytes(60 << 20), 9)
    lie = frame([("a", 0, 1, 0, 100, 100, big)], 100)  # unpacks to more than it says
    over = frame([("a", 0, 1, 0, 1 << 30, 1 << 30, big)], 100)
    claim = frame([("a", 0, 1, 0, 60 << 20, 60 << 20, big[:2000])], 100)
    for forged in (lie, over, claim):
        path = trace_of(tmp_path / "bomb.gpm", forged)
        with LogReader(path) as reader:
            bounded(0.5, 2, partial(reader.column, 3, "a", "B"))
            assert reader.column(3, "a", "B") == array("B", bytes(100)) and reader.damage


def test_rows_without_bytes_are_not_believed(tmp_path: Path) -> None:
    empty = [frame([], layout.MAX_ROWS, first_row=n * layout.MAX_ROWS) for n in range(32)]
    with LogReader(trace_of(tmp_path / "t.gpm", *empty)) as reader:
        assert reader.rows(3) == 0 and len(reader.damage) == 32
    zeros = zlib.compress(bytes(layout.MAX_ROWS), 9)
    entry = ("a", 0, 1, 0, layout.MAX_ROWS, layout.MAX_ROWS, zeros)
    wide = [frame([entry], layout.MAX_ROWS, first_row=n * layout.MAX_ROWS) for n in range(8)]
    with (
        LogReader(trace_of(tmp_path / "t.gpm", *wide)) as reader,
        pytest.raises(DamagedColumn, match="more rows than the file can hold"),
    ):
        reader.column(3, "missing", "d")


def test_frames_may_not_share_bytes_or_repeat_rows(tmp_path: Path) -> None:
    one = frame([("a", 0, 0, 0, 3, 3, b"abc")], 3)
    with LogReader(trace_of(tmp_path / "t.gpm", one, one)) as reader:
        assert reader.blob(3, "a") == b"abc" and "repeats" in reader.damage[0].reason
    inner = frame([("a", 0, 0, 0, 3, 3, b"abc")], 3, first_row=3)
    outer = frame([("a", 0, 0, 0, len(inner), len(inner), inner)], 3)
    starts = array("Q", [16, 16 + len(outer) - len(inner)])
    columns = [("table", array("I", [3, 3])), ("rows", array("I", [3, 3]))]
    columns += [("first", array("Q", [0, 3])), ("offset", starts)]
    entries = [
        (name, layout.TYPECODES.index(v.typecode), 0, 0, 2, 2 * v.itemsize, v.tobytes())
        for name, v in columns
    ]
    where = struct.pack("<Q", 16 + len(outer))
    end = layout.TRAILER.pack(b"GPME", zlib.crc32(where), 16 + len(outer))
    index = frame(entries, 2, kind=layout.INDEX)
    with LogReader(trace_of(tmp_path / "t.gpm", outer, index, end)) as reader:
        assert reader.sealed and [f.first_row for f in reader.frames(3)] == [3]
        assert "past its place" in reader.damage[0].reason


@pytest.mark.parametrize("kind", ["marks", "heads", "gaps", "frames"])
def test_junk_does_not_hang_the_reader(tmp_path: Path, kind: str) -> None:
    cut = restamp(layout.FRAME.pack(b"GPMF", 1, 0, 0, 3, 0, 0, 0, 64 << 20), b"")
    unit = {"marks": b"GPMF", "heads": cut, "gaps": frame([], 0) + b"?", "frames": frame([], 0)}
    path = trace_of(tmp_path / "t.gpm", unit[kind] * ((5 << 20) // len(unit[kind])))
    start = time.process_time()
    with LogReader(path) as reader:
        assert reader.cut_off and bool(reader.damage) == (kind in ("marks", "gaps"))
    assert time.process_time() - start < (3 if kind == "frames" else 1)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_full_disk_leaves_a_readable_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path, real, room = tmp_path / "t.gpm", os.write, [6000]

    def full(fd: int, block: memoryview) -> int:
        if not room[0]:
            raise OSError(number, os.strerror(number))
        wrote = real(fd, bytes(block[: min(room[0], 700)]))
        room[0] -= wrote
        return wrote

    writer = LogWriter(path)
    monkeypatch.setattr(os, "write", full)
    done = 0
    for flush in range(100):
        writer.frame(3, 50, rows_of(flush))
        done += writer.commit()
    assert writer.stopped == os.strerror(number) and 0 < done < 100
    writer.close()
    writer.close()
    assert path.stat().st_size == writer.size
    parts, reader = read_all(path)
    assert len(parts) == done * len(TYPES) and reader.cut_off and not reader.damage


def test_interrupted_commit_is_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = LogWriter(tmp_path / "t.gpm")
    writer.frame(3, 50, rows_of(0))
    real = os.write

    def interrupted(fd: int, block: memoryview) -> int:
        real(fd, bytes(block[:100]))
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        writer.commit()
    monkeypatch.undo()
    writer.close()
    parts, reader = read_all(tmp_path / "t.gpm")
    assert reader.sealed and not reader.damage and len(parts) == len(TYPES)


def test_writer_refuses_what_no_reader_takes(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "t.gpm")
    byte = array("B", [1])
    for rows, columns in [
        (1, [("a", byte), ("a", byte)]),
        (1, [(f"c{n}", byte) for n in range(257)]),
        (1, [("", byte)]),
        (layout.MAX_ROWS + 1, [("a", byte)]),
        (5000, [("a", byte)]),
    ]:
        with pytest.raises(ValueError):
            writer.frame(1, rows, columns)
    writer.abandon()
    writer.frame(1, 1, [("a", byte)])
    assert not writer.commit() and (tmp_path / "t.gpm").stat().st_size == 16
    with pytest.raises(OutputError, match="exists already"):
        LogWriter(tmp_path / "t.gpm", overwrite=False)
    with pytest.raises(OutputError, match="Cannot write"):
        LogWriter(tmp_path / "no" / "t.gpm")


def test_files_that_are_no_trace_are_named_with_a_way_out(tmp_path: Path) -> None:
    path = tmp_path / "t\x1b[2J.gpm"
    cases: list[tuple[bytes | None, type[TraceError]]] = [
        (None, TraceError),
        (b"", TraceError),
        (b"import torch\n" * 9, NotATrace),
        (layout.MAGIC, NotATrace),
        (layout.FILE_HEAD.pack(layout.MAGIC, 2, 0, 0), NewerTrace),
        (
            layout.FILE_HEAD.pack(layout.MAGIC, 1, 0, 0) + frame([], 0, kind=9, flags=128),
            NewerTrace,
        ),
    ]
    for content, expected in cases:
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(expected) as caught:
            LogReader(path)
        assert type(caught.value) is expected and caught.value.hint
        assert "t\\x1b[2J.gpm" in caught.value.sentence
    with pytest.raises(TraceError, match="is a folder"):
        LogReader(tmp_path)


def test_later_minor_versions_are_read(tmp_path: Path) -> None:
    known, new = ("a", 0, 0, 0, 3, 3, b"abc"), ("b", 0, 7, 0, 3, 3, b"xyz")
    path = trace_of(tmp_path / "t.gpm", frame([], 0, kind=9), frame([known, new], 3))
    with LogReader(path) as reader:
        assert reader.blob(3, "a") == b"abc" and not reader.damage
        assert reader.blob(3, "b") == b"" and "newer gradpm" in reader.damage[0].reason


def test_text_of_a_stranger_cannot_steer_the_terminal() -> None:
    assert escape("a\x1b[31m\r\n\t\u202eb\ud800é👩\u200d🔬") == (
        "a\\x1b[31m\\r\\n\\t\\u202eb\\ud800é👩\u200d🔬"
    )
    assert escape_block("a\r\n\tb\rc\x9b") == "a\n\tb\\rc\\x9b"
