"""Columns of one table, ready to be indexed by row."""

from __future__ import annotations

from array import array
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from gradpm.trace.schema import COLUMNS, Table

if TYPE_CHECKING:
    from gradpm.trace.reader import LogReader


def running_sum(lengths: array[Any]) -> array[Any]:
    """Where each row's ragged part begins; one longer than `lengths`."""
    return array("Q", accumulate(lengths, initial=0))


class Columns:
    """The columns of one table; each is read from the file when first asked for.

    `columns["line"]` is an array over all rows. `columns.ragged("in")` gives
    `(starts, flat)`: row r owns `flat[starts[r]:starts[r + 1]]`.
    """

    def __init__(self, reader: LogReader, table: Table) -> None:
        self._reader = reader
        self._table = table
        self._types = COLUMNS[table]
        self._flat: dict[str, array[Any]] = {}
        self._starts: dict[str, array[Any]] = {}
        self.rows = reader.rows(table)

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, name: str) -> array[Any]:
        """One value per row; zeros where a file does not have the column."""
        column = self._flat.get(name)
        if column is None:
            column = self._reader.column(self._table, name, self._types[name])
            self._flat[name] = column
        return column

    def ragged(self, name: str, lengths: str = "") -> tuple[array[Any], array[Any]]:
        """Starts and flat values of a ragged column; damaged parts read as empty."""
        lengths = lengths or "n" + name
        flat = self._flat.get(name + "*")
        if flat is None:
            flat = self._aligned(name, lengths)
            self._flat[name + "*"] = flat
        if lengths not in self._starts:
            self._starts[lengths] = running_sum(self[lengths])
        return self._starts[lengths], flat

    def _aligned(self, name: str, lengths: str) -> array[Any]:
        """The flat part, each frame's checked to be as long as its lengths say."""
        typecode = self._types[name + "*"]
        parts = self._reader.per_frame(self._table, name + "*", typecode)
        counts = self._reader.per_frame(self._table, lengths, self._types[lengths])
        flat = array(typecode)
        for part, count in zip(parts, counts, strict=True):
            total = sum(count)
            if len(part) == total:
                flat.extend(part)
            elif total <= 1 << 24:
                flat.frombytes(bytes(total * flat.itemsize))
            else:
                raise ValueError("a ragged column is longer than any real one")
        return flat
