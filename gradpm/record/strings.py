"""Interned strings and shapes: each is written once."""

from __future__ import annotations

import json
from typing import Any

from gradpm.record.locks import LOCK
from gradpm.record.quiet import answers_itself
from gradpm.record.rows import Rows
from gradpm.trace.schema import Table

LONGEST = 1 << 20  # bytes of one string; a longer one is cut
MOST_PASSING = 4096
MOST_SPECS = 1 << 17


class Strings:
    """Ids of strings; 0 is the empty one."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._passing: dict[str, int] = {}  # details of events: most are never said again
        self._count = 0
        self.rows = Rows(Table.STRING)
        self.id("")

    def id(self, text: str) -> int:
        """The id of a string, given now if it is new."""
        found = self._ids.get(text)
        return found if found is not None else self._new(text)

    def _new(self, text: str) -> int:
        with LOCK:
            found = self._ids.get(text)
            if found is None:
                found = self._ids[text] = self._write(text)
        return found

    def _write(self, text: str) -> int:
        utf8 = text.encode("utf-8", "backslashreplace")[:LONGEST]
        self.rows.add(len(utf8), utf8=utf8)
        self._count += 1
        return self._count - 1

    def again(self) -> None:
        """Say every lasting string anew, under the id that it has: for another file."""
        self.rows.clear()
        self._passing.clear()
        self._count = 0
        for text, place in self._ids.items():
            while self._count < place:
                self._write("")
            self._write(text)

    def json(self, value: Any) -> int:
        """The id of a value as JSON; what JSON cannot say is said by its repr's type."""
        if not value:
            return 0
        text = json.dumps(value, default=lambda odd: type(odd).__name__)
        with LOCK:
            found = self._passing.get(text)
            if found is None:
                if len(self._passing) >= MOST_PASSING:
                    self._passing.clear()
                found = self._passing[text] = self._write(text)
        return found


class Specs:
    """Ids of (shape, dtype, device); 0 is unknown."""

    def __init__(self, strings: Strings) -> None:
        self._strings = strings
        self.rows = Rows(Table.SPEC)
        self.ids: dict[Any, int] = {}
        self.rows.add(0, 0, 0, 0, dims=())
        self._count = 1
        self.get = self.ids.get
        self.floating: set[int] = set()  # of a floating point type

    def of(self, tensor: Any) -> int:
        """The id of a tensor's spec; 0 when it will not say, or not without the user's code."""
        if answers_itself(tensor):
            return 0
        try:
            key = (tensor.shape, tensor.dtype, tensor.device)
            found = self.ids.get(key)
            if found is None:
                found = self._new(key, str(tensor.layout).removeprefix("torch."))
        except (RuntimeError, TypeError, NotImplementedError):
            return 0  # nested tensors and the like have no plain shape
        return found

    def _new(self, key: Any, layout: str) -> int:
        shape, dtype, device = key
        if any(type(size) is not int for size in shape):
            return 0  # while torch traces: asking for the number would leave a mark
        dims = list(shape)
        text = self._strings.id
        names = text(str(dtype).removeprefix("torch.")), text(str(device)), text(layout)
        with LOCK:
            found = self.ids.get(key)
            if found is None:
                if self._count >= MOST_SPECS:
                    return 0
                found = self.ids[key] = self._count
                self._count += 1
                if dtype.is_floating_point:
                    self.floating.add(found)
                self.rows.add(*names, len(dims), dims=dims)
        return int(found)
