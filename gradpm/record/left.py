"""Values that left torch, remembered for as long as they may come back.

What `item()`, `tolist()` or `numpy()` handed out is kept as a Python number or an
address, never written; when a later call brings the same number or address back,
only the link between the two tensors goes into the trace.
"""

from __future__ import annotations

from typing import Any

from gradpm.record.rows import Rows
from gradpm.trace.schema import LinkHow, Table

MOST = 4096
COMMON = frozenset((0.0, 1.0, -1.0, 0.5, 2.0, float("inf"), float("-inf")))


class Left:
    """Numbers and addresses that went out, by the serial of the tensor they were in."""

    def __init__(self) -> None:
        self.values: dict[float, int] = {}
        self.memory: dict[int, int] = {}
        self.met: list[tuple[int, int]] = []  # (serial, how) since the last row
        self.rows = Rows(Table.LINK)

    def out(self, result: Any, serial: int) -> None:
        """A call returned something that is no tensor."""
        if type(result) is float:
            self._value(result, serial)
        elif type(result) is list:
            self._numbers(result, serial, 64)
        elif type(result).__module__ == "numpy" and hasattr(result, "__array_interface__"):
            if len(self.memory) >= MOST:
                self.memory.clear()
            self.memory[result.__array_interface__["data"][0]] = serial

    def _value(self, value: float, serial: int) -> None:
        if value in COMMON or value != value:
            return
        if len(self.values) >= MOST:
            self.values.clear()
        self.values[value] = serial

    def _numbers(self, values: list[Any], serial: int, most: int) -> None:
        for value in values[:most]:
            if type(value) is float:
                self._value(value, serial)
            elif type(value) is list:
                self._numbers(value, serial, 8)

    def meet(self, value: float) -> None:
        """A number goes into a call: did it come from a tensor?"""
        serial = self.values.get(value)
        if serial is not None:
            self.met.append((serial, LinkHow.VALUE))

    def meet_data(self, data: Any, most: int = 64) -> None:
        """Python or numpy data goes into a factory."""
        if type(data) is float:
            self.meet(data)
        elif type(data) in (list, tuple):
            for item in data[:most]:
                self.meet_data(item, 8)
        elif hasattr(data, "__array_interface__"):
            self.meet_address(data.__array_interface__["data"][0])
            if getattr(data, "size", 0) <= most and self.values:
                self.meet_data(data.tolist())

    def meet_address(self, address: int) -> None:
        """Memory goes into a factory."""
        serial = self.memory.get(address)
        if serial is not None:
            self.met.append((serial, LinkHow.MEMORY))

    def link(self, op: int, outs: list[int]) -> None:
        """Bind what this op made to what it was made from."""
        target = outs[0] if outs else 0
        for serial, how in dict.fromkeys(self.met):
            self.rows.add(op, serial, target, how)
        self.met.clear()
