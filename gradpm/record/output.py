"""From buffers to the file: what is interned first, then the rows, in one write."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gradpm.record.faults import HERE
from gradpm.record.locks import LOCK
from gradpm.record.rows import Rows
from gradpm.trace.schema import FileKind, Table
from gradpm.trace.writer import LogWriter

if TYPE_CHECKING:
    from gradpm.record.stacks import Stacks
    from gradpm.record.strings import Strings

LARGEST_SOURCE = 1 << 20


class Sources:
    """The files that stand in stacks, each classified and, if it is the user's, embedded."""

    def __init__(self, strings: Strings, *, embed: bool) -> None:
        self._strings = strings
        self._embed = embed
        self._ids: dict[str, int] = {}
        self._kinds: dict[str, FileKind] = {}
        self.rows = Rows(Table.FILE)
        self.id("")
        self._torch = os.path.dirname(sys.modules["torch"].__file__ or "") + os.sep
        self._library = _standard_library()
        self._inline = sys.argv[:1] == ["-c"]

    def id(self, path: str) -> int:
        """The id of a file, embedded now if it is new and the user's."""
        found = self._ids.get(path)
        return found if found is not None else self._new(path)

    def _new(self, path: str) -> int:
        with LOCK:
            if path in self._ids:
                return self._ids[path]
            found = self._ids[path] = len(self._ids)
            kind = self.kind(path) if path else FileKind.LIBRARY
            text = self._read(path) if kind is FileKind.USER and self._embed else ""
            cut = text[:LARGEST_SOURCE]
            full = path if path.startswith("<") or not path else os.path.abspath(path)
            self.rows.add(
                self._strings.id(full), kind, self._strings.id(cut), int(len(cut) < len(text))
            )
        return found

    def kind(self, path: str) -> FileKind:
        """Whose code a file is."""
        known = self._kinds.get(path)
        if known is None:
            known = self._kinds[path] = self._classify(path)
        return known

    def _classify(self, path: str) -> FileKind:
        if path.startswith("<"):
            if path == "<string>" and not self._inline:
                return FileKind.LIBRARY
            ours = path.startswith(("<ipython", "<string>", "<stdin>"))
            return FileKind.USER if ours else FileKind.LIBRARY
        if path.startswith(self._torch):
            return FileKind.TORCH
        if path.startswith(HERE):
            return FileKind.GRADPM
        parts = path.replace("\\", "/").split("/")
        if "site-packages" in parts or "dist-packages" in parts:
            return FileKind.LIBRARY
        return FileKind.LIBRARY if path.startswith(self._library) else FileKind.USER

    def _read(self, path: str) -> str:
        import linecache

        try:
            with open(path, "rb") as file:
                raw = file.read(4 * LARGEST_SOURCE)
        except OSError:
            return "".join(linecache.getlines(path))
        return raw.decode("utf-8", "replace")


class Output:
    """The trace file of this process; opened when there is first something to keep."""

    def __init__(self, name: Callable[[], str], most_bytes: int) -> None:
        """`name` gives the path, and is asked when the file is opened: a rank may be known then."""
        self._name = name
        self.path = ""
        self.most_bytes = most_bytes
        self.writer: LogWriter | None = None
        self._frames_done = 0
        self._scopes_done = 0
        self._modules_done = 0

    @property
    def stopped(self) -> str | None:
        """Why writing stopped; None while it goes on."""
        return self.writer.stopped if self.writer is not None else None

    @property
    def takes(self) -> bool:
        """Whether there is a file, and what was given to it has got there."""
        return self.writer is not None and self.writer.takes

    def open(self) -> LogWriter:
        """The writer, opened now if need be."""
        if self.writer is None:
            self.path = self._name()
            self.writer = LogWriter(self.path)
        return self.writer

    def stop(self, reason: str) -> bool:
        """Write no more but this reason; whether that is in the file."""
        return self.writer is not None and self.writer.stop(int(Table.STOPPED), reason)

    def close(self) -> None:
        """Seal the file, if there is one."""
        if self.writer is not None:
            self.writer.close()

    def abandon(self) -> None:
        """Leave the file as it is, to another process; nothing goes out from here any more."""
        if self.writer is not None:
            self.writer.abandon()

    def put(self, rows: Rows) -> None:
        """Buffer what these rows hold as one frame."""
        if len(rows):
            count = len(rows)
            _, columns = rows.take()
            self.open().frame(int(rows.table), count, columns)

    def stacks(self, stacks: Stacks, sources: Sources, strings: Strings) -> None:
        """Resolve the stacks that are new since the last flush to files and lines."""
        rows = Rows(Table.FRAME)
        if not self._frames_done:
            rows.add(*([0] * rows.width))
            self._frames_done = 1
        for index in range(self._frames_done - 1, len(stacks.entries)):
            parent, code, (line, end, column, end_column) = stacks.position(index)
            name = getattr(code, "co_qualname", code.co_name)
            file = sources.id(code.co_filename)
            function = strings.id(name)
            rows.add(parent, file, function, line, end, column, end_column, code.co_firstlineno)
        self._frames_done = len(stacks.entries) + 1
        self._frames = rows

    def scopes(self, scopes: Any, strings: Strings) -> None:
        """The modules and module calls that are new since the last flush."""
        modules = Rows(Table.MODULE)
        for _, name, training in scopes.modules[self._modules_done :]:
            modules.add(strings.id(name), int(training))
        self._modules_done += len(modules)
        calls = Rows(Table.SCOPE)
        for entry in scopes.entries[self._scopes_done :]:
            calls.add(*entry)
        self._scopes_done += len(calls)
        self._modules, self._calls = modules, calls

    def interned(self, stacks: Stacks, sources: Sources, strings: Strings, scopes: Any) -> None:
        """Everything that rows refer to, in the order that lets any prefix resolve."""
        self.stacks(stacks, sources, strings)
        self.scopes(scopes, strings)
        for rows in (strings.rows, sources.rows, self._frames, self._modules, self._calls):
            self.put(rows)

    @property
    def full(self) -> bool:
        """Whether the file has reached the size it may have."""
        return self.writer is not None and self.writer.size >= self.most_bytes


def _standard_library() -> tuple[str, ...]:
    """The folders of python's own modules; without `sysconfig`, which the program may lack."""
    pure = os.path.dirname(os.__file__)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    platform = os.path.join(sys.base_exec_prefix, sys.platlibdir, version)
    return tuple({os.path.abspath(folder) + os.sep for folder in (pure, platform)})


def digest(text: str) -> str:
    """A short, stable name for a text."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
