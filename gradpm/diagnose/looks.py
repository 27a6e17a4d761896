"""What looks at living tensors showed, by engine call, tensor, node and op."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from gradpm.diagnose.facts import Facts
from gradpm.trace.schema import Table, When


@dataclass(frozen=True, slots=True)
class Look:
    """One look: counts and the range of what is finite."""

    backward: int
    when: int
    op: int
    seq: int
    node: str
    slot: str
    serial: int
    numbers: int
    nan: int
    inf: int
    zero: int
    low: float
    high: float

    @property
    def bad(self) -> bool:
        """Whether any number is not finite."""
        return bool(self.nan or self.inf)


class Looks:
    """The LOOK table."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    @cached_property
    def all(self) -> list[Look]:
        """Every look, in order."""
        trace = self.facts.trace
        columns = trace.table(Table.LOOK)
        numbers = ("serial", "numbers", "nan", "inf", "zero", "low", "high")
        return [
            Look(
                columns["backward"][row],
                columns["when"][row],
                columns["op"][row],
                columns["seq"][row],
                trace.string(columns["node"][row]),
                trace.string(columns["slot"][row]),
                *(columns[name][row] for name in numbers),
            )
            for row in range(len(columns))
        ]

    @cached_property
    def walked(self) -> dict[int, list[Look]]:
        """The looks at everything alive when an engine call was given a bad loss."""
        found: dict[int, list[Look]] = {}
        for look in self.all:
            if look.when in (When.SAVED, When.ALIVE):
                found.setdefault(look.backward, []).append(look)
        return found

    @cached_property
    def at_op(self) -> dict[int, list[Look]]:
        """The looks at ops whose result carries no gradient and is bad, by op id."""
        return self._by_op(When.OP)

    @cached_property
    def at_node(self) -> dict[int, list[Look]]:
        """The looks at nodes that made bad gradients of good ones, by op id."""
        return self._by_op(When.HOOK)

    def _by_op(self, when: When) -> dict[int, list[Look]]:
        found: dict[int, list[Look]] = {}
        for look in self.all:
            if look.when == when:
                found.setdefault(look.op, []).append(look)
        return found
