"""Rows on their way to the file: flat lists, turned into columns at the flush.

One flat list per table and one per ragged column record in about 0.12 us a row
and wake the garbage collector never (FORMAT.md's measurement).
"""

from __future__ import annotations

from array import array
from typing import Any

from gradpm.record.locks import LOCK
from gradpm.trace.schema import COLUMNS, Table


class Rows:
    """Rows of one table, waiting for the next flush."""

    __slots__ = ("_names", "_ragged", "_types", "fixed", "parts", "table", "width")

    def __init__(self, table: Table) -> None:
        types = COLUMNS[table]
        self.table = table
        self._types = types
        self._names = [name for name in types if not name.endswith("*")]
        self._ragged = [name for name in types if name.endswith("*")]
        self.width = len(self._names)
        self.fixed: list[Any] = []
        self.parts: dict[str, list[Any]] = {name: [] for name in self._ragged}

    def __len__(self) -> int:
        return len(self.fixed) // self.width

    def add(self, *values: Any, **ragged: Any) -> None:
        """One row: the fixed columns in schema order, ragged ones by name."""
        with LOCK:
            self.fixed += values
            for name, part in ragged.items():
                self.parts[name + "*"] += part

    def extend(self, values: list[Any]) -> None:
        """Several rows of a table without ragged columns, one after the other."""
        with LOCK:
            self.fixed += values

    def take(self) -> tuple[int, list[tuple[str, array[Any] | bytes]]]:
        """The rows so far as columns, and an empty buffer again."""
        empty: dict[str, list[Any]] = {name: [] for name in self._ragged}
        with LOCK:
            # A straight line, since op rows are written without the lock.
            fixed, self.fixed, parts, self.parts = self.fixed, [], self.parts, empty
        return len(fixed) // self.width, self._columns(fixed, parts)

    def _columns(
        self, fixed: list[Any], parts: dict[str, list[Any]]
    ) -> list[tuple[str, array[Any] | bytes]]:
        columns: list[tuple[str, array[Any] | bytes]] = [
            (name, array(self._types[name], fixed[at :: self.width]))
            for at, name in enumerate(self._names)
        ]
        return columns + [(name, array(self._types[name], parts[name])) for name in self._ragged]

    def clear(self) -> None:
        """Forget the rows so far."""
        self.take()


class OpRows(Rows):
    """Rows of the op table, which every thread writes: with three `+=` and no call between.

    `ins` holds the serials of what went in; `outs` three numbers for each tensor that came
    out, its serial, its spec, its flags.
    """

    __slots__ = ("ins", "outs")

    def __init__(self) -> None:
        super().__init__(Table.OP)
        self.ins: list[int] = []
        self.outs: list[int] = []

    def op(self, values: Any, ins: Any, outs: Any) -> None:
        """One row: no calls here (see `locks`)."""
        self.fixed += values
        self.ins += ins
        self.outs += outs

    def peek(self) -> list[tuple[str, array[Any] | bytes]]:
        """The rows so far as columns; they stay."""
        return self._all(self.fixed, self.ins, self.outs)

    def take(self) -> tuple[int, list[tuple[str, array[Any] | bytes]]]:
        """The rows so far as columns, and an empty buffer again."""
        with LOCK:
            # A straight line, since op rows are written without the lock.
            fixed, self.fixed, ins, self.ins, outs, self.outs = (
                self.fixed, [], self.ins, [], self.outs, [],
            )  # fmt: skip
        return len(fixed) // self.width, self._all(fixed, ins, outs)

    def _all(
        self, fixed: list[Any], ins: list[int], outs: list[int]
    ) -> list[tuple[str, array[Any] | bytes]]:
        ragged = {"in*": ins, "out*": outs[0::3], "spec*": outs[1::3], "oflags*": outs[2::3]}
        return self._columns(fixed, ragged)
