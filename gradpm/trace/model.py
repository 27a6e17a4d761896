"""A trace, opened: facts by row, decoded when asked for. Needs no torch."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

from gradpm.trace.columns import Columns
from gradpm.trace.reader import LogReader
from gradpm.trace.rows import ErrorRow, Event, Frame, LeafRow, Spec
from gradpm.trace.schema import FileKind, LeafKind, Table

__all__ = ["ErrorRow", "Event", "Frame", "LeafRow", "Spec", "Trace"]

MODULE_NAME = 9  # NAME.kind of a module
LONGEST_KEPT = 200  # characters of a string that is kept decoded


class Trace:
    """One trace file. Every id is checked when used: a hostile file gives none, not a crash."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.reader = LogReader(path)
        self._columns: dict[Table, Columns] = {}
        self._short: dict[int, str] = {}

    def close(self) -> None:
        """Let go of the file."""
        self.reader.close()

    def table(self, table: Table) -> Columns:
        """The columns of one table."""
        found = self._columns.get(table)
        if found is None:
            found = self._columns[table] = Columns(self.reader, table)
        return found

    # -- strings, meta, files ------------------------------------------------

    @cached_property
    def _strings(self) -> tuple[Any, bytes]:
        starts, flat = self.table(Table.STRING).ragged("utf8", "length")
        return starts, flat.tobytes()

    def string(self, row: int) -> str:
        """An interned string; the empty one for an id that is not there."""
        known = self._short.get(row)
        if known is not None:
            return known
        starts, flat = self._strings
        if not 0 <= row < len(starts) - 1:
            return ""
        text = flat[starts[row] : starts[row + 1]].decode("utf-8", "replace")
        if len(text) <= LONGEST_KEPT:  # names of ops are asked for by the million
            self._short[row] = text
        return text

    def detail(self, row: int) -> dict[str, Any]:
        """An interned JSON object; empty when it is none."""
        try:
            found = json.loads(self.string(row) or "{}")
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @cached_property
    def meta(self) -> dict[str, Any]:
        """What is known of the run: script, argv, versions, exit, what was dropped."""
        columns = self.table(Table.META)
        known: dict[str, Any] = {}
        for key, value in zip(columns["key"], columns["value"], strict=True):
            try:
                known[self.string(key)] = json.loads(self.string(value))
            except (ValueError, RecursionError):
                continue
        _, stopped = self.table(Table.STOPPED).ragged("utf8", "length")
        if stopped:
            told = stopped.tobytes().decode("utf-8", "replace")
            known.setdefault("stopped", {"where": "trace", "fault": told})
        return known

    @cached_property
    def files(self) -> list[tuple[str, FileKind]]:
        """Path and kind of every file, by id."""
        columns = self.table(Table.FILE)
        kinds = set(FileKind)
        return [
            (self.string(path), FileKind(kind) if kind in kinds else FileKind.LIBRARY)
            for path, kind in zip(columns["path"], columns["kind"], strict=True)
        ]

    @cached_property
    def _sources(self) -> dict[str, str]:
        columns = self.table(Table.FILE)
        return {
            self.string(path): self.string(source)
            for path, source in zip(columns["path"], columns["source"], strict=True)
            if source
        }

    def source(self, path: str) -> str:
        """A user file's text as it was when it ran; empty when it was not embedded."""
        return self._sources.get(path, "")

    def source_lines(self, path: str) -> list[str]:
        """The same by line; index 0 is line 1."""
        return _lines(self.source(path))

    # -- stacks, specs, modules ------------------------------------------------

    def frame(self, row: int) -> Frame | None:
        """One frame; None for the empty stack and for ids out of range."""
        columns = self.table(Table.FRAME)
        if not 0 < row < columns.rows:
            return None
        file = columns["file"][row]
        path, kind = self.files[file] if file < len(self.files) else ("", FileKind.LIBRARY)
        parent = columns["parent"][row]
        return Frame(
            row,
            parent if parent < row else 0,
            file,
            path,
            kind,
            self.string(columns["function"][row]),
            columns["line"][row],
            columns["end_line"][row],
            columns["column"][row],
            columns["end_column"][row],
            columns["first_line"][row],
        )

    @cached_property
    def _stacks(self) -> dict[int, tuple[Frame, ...]]:
        return {}

    def stack(self, row: int) -> tuple[Frame, ...]:
        """A stack, innermost frame first."""
        known = self._stacks.get(row)
        if known is None:
            frames: list[Frame] = []
            at = row
            while (frame := self.frame(at)) is not None:
                frames.append(frame)
                at = frame.parent
            known = self._stacks[row] = tuple(frames)
        return known

    def user_frame(self, row: int) -> Frame | None:
        """The innermost frame in the user's own code."""
        return next((f for f in self.stack(row) if f.kind is FileKind.USER), None)

    @cached_property
    def _specs(self) -> list[Spec]:
        columns = self.table(Table.SPEC)
        starts, dims = columns.ragged("dims", "ndim")
        return [
            Spec(
                tuple(dims[starts[row] : starts[row + 1]]),
                self.string(columns["dtype"][row]),
                self.string(columns["device"][row]),
                self.string(columns["layout"][row]),
            )
            for row in range(columns.rows)
        ]

    def spec(self, row: int) -> Spec:
        """Shape and type of a tensor; an empty one for ids out of range."""
        specs = self._specs
        return specs[row] if 0 <= row < len(specs) else Spec((), "", "", "")

    # -- ops ------------------------------------------------------------------

    @cached_property
    def op_row(self) -> dict[int, int]:
        """Row of each kept op, by op id."""
        return {op: row for row, op in enumerate(self.table(Table.OP)["id"])}

    @cached_property
    def op_ids(self) -> Any:
        """Op id of each row."""
        return self.table(Table.OP)["id"]

    def op_name(self, row: int) -> str:
        """What torch calls the op in this row: `relu`, `add_`, `requires_grad.__set__`."""
        return self.string(self.table(Table.OP)["name"][row])

    # -- names, leaves, events, errors ------------------------------------------

    @cached_property
    def leaves(self) -> dict[int, LeafRow]:
        """Parameters and other leaves, by serial."""
        columns = self.table(Table.LEAF)
        kinds = {int(kind): kind for kind in LeafKind}
        names = ("serial", "kind", "spec", "frame", "flags", "op")
        rows = zip(*(columns[name] for name in names), strict=True)
        return {
            serial: LeafRow(
                serial, kinds.get(kind, LeafKind.TENSOR), self.spec(spec), frame, flags, op
            )
            for serial, kind, spec, frame, flags, op in rows
        }

    @cached_property
    def names(self) -> dict[int, list[tuple[str, str]]]:
        """(root variable, dotted path) of a serial, best first; root may be empty."""
        columns = self.table(Table.NAME)
        found: dict[int, list[tuple[str, str]]] = {}
        rows = zip(
            columns["kind"], columns["object"], columns["root"], columns["name"], strict=True
        )
        for kind, serial, root, name in sorted(rows, key=_is_tensor):
            if kind <= LeafKind.TENSOR:
                pair = (self.string(root), self.string(name))
                known = found.setdefault(serial, [])
                if pair not in known:
                    known.append(pair)
        return found

    def name(self, serial: int) -> str:
        """`model.encoder.weight`, `h`, or empty."""
        known = self.names.get(serial)
        if not known:
            return ""
        root, path = known[0]
        return f"{root}.{path}" if root and path else root or path

    @cached_property
    def module_names(self) -> dict[int, str]:
        """Dotted path of a module, by id, where one is known."""
        columns = self.table(Table.NAME)
        found: dict[int, str] = {}
        rows = zip(
            columns["kind"], columns["object"], columns["root"], columns["name"], strict=True
        )
        for kind, module, root, name in rows:
            if kind == MODULE_NAME and module not in found:
                found[module] = f"{self.string(root)}.{self.string(name)}".strip(".")
        return found

    @cached_property
    def events(self) -> list[Event]:
        """All events, in the order in which they happened."""
        columns = self.table(Table.EVENT)
        kinds, details = columns["kind"], columns["detail"]
        # a step says the same again and again: each text is decoded once
        kind_of = {kind: self.string(kind) for kind in set(kinds)}
        detail_of = {detail: self.detail(detail) for detail in set(details)}
        rows = zip(
            map(kind_of.__getitem__, kinds),
            *(columns[name] for name in ("frame", "op", "backward", "object")),
            map(detail_of.__getitem__, details),
            strict=True,
        )
        return list(map(Event._make, rows))

    @cached_property
    def errors(self) -> list[ErrorRow]:
        """All exceptions that were seen."""
        columns = self.table(Table.ERROR)
        return [
            ErrorRow(
                row,
                self.string(columns["type"][row]),
                self.string(columns["message"][row]),
                columns["frame"][row],
                columns["op"][row],
                columns["backward"][row],
                bool(columns["uncaught"][row]),
                self.detail(columns["detail"][row]),
            )
            for row in range(columns.rows)
        ]


def _is_tensor(row: tuple[int, int, int, int]) -> bool:
    return row[0] == LeafKind.TENSOR


def _lines(text: str) -> list[str]:
    """Lines as Python counts them: form feeds and the like do not end one."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
