"""Which engine calls are kept in full: the first, those that differ, and those after a bad one."""

from __future__ import annotations

import math

from gradpm.record.options import Options

MOST_SPARE = 24  # calls kept in full beyond the first few
FIRST = 3
FIRST_OF_A_LINE = 2


class Fullness:
    """Spends full looks where they tell something."""

    def __init__(self, options: Options) -> None:
        self.suspects: set[int] = set()  # stacks of calls whose next one is kept in full
        self._options = options
        self._always = options.detail == "full" or options.stats == "all"
        self._calls_at: dict[int, int] = {}
        self._spare = MOST_SPARE

    def wants(self, number: int, stack: int, loss: float, create_graph: bool) -> bool:
        """Whether the graph of this call (counted from 0) is kept in full."""
        every = self._options.every
        if self._always or create_graph or (every and number % every == 0):
            return True
        times = self._calls_at[stack] = self._calls_at.get(stack, 0) + 1
        suspect = not math.isfinite(loss)
        if stack in self.suspects:
            self.suspects.discard(stack)
            suspect = True
        if self._options.detail == "light":
            return number == 0
        if number < FIRST:
            return True
        if not (suspect or times <= FIRST_OF_A_LINE) or self._spare <= 0:
            return False
        self._spare -= 1
        return True
