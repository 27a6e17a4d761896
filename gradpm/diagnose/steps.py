"""One optimizer step and what came before it; one line that cleared gradients."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gradpm.diagnose.backwards import Backward
from gradpm.diagnose.gradients import GradRow
from gradpm.diagnose.optimizers import Optimizer
from gradpm.trace.model import Event


@dataclass(slots=True)
class Step:
    """One step of one optimizer, and the engine calls since the step before it."""

    optimizer: Optimizer
    index: int
    event: Event
    done: Event | None = None
    since: int = 0  # op id when the step before it had ended
    calls: list[Backward] = field(default_factory=list)

    @property
    def ran_closure(self) -> bool:
        """Whether engine calls ran inside the step."""
        return self.done is not None and self.done.backward > self.event.backward

    @property
    def in_backward(self) -> bool:
        """Whether it ran inside an engine call, from a hook."""
        last = self.calls[-1] if self.calls else None
        return last is not None and self.event.op < last.op_end

    @property
    def without(self) -> bool:
        """Whether not one of its parameters had a gradient."""
        return not self.event.detail.get("have")

    @property
    def rates(self) -> list[float | None]:
        """The learning rate of each group."""
        found = self.event.detail.get("lr")
        return found if isinstance(found, list) else []

    def gave(self, serials: Iterable[int]) -> bool:
        """Whether any of the calls since the last step changed one of these gradients."""
        return any(call.grads.is_fresh(serial) for serial in serials for call in self.calls)

    def fresh(self, serial: int) -> list[tuple[Backward, GradRow]]:
        """The calls since the last step that changed this parameter's gradient."""
        return [(call, call.grads[serial]) for call in self.calls if call.grads.is_fresh(serial)]


@dataclass(frozen=True, slots=True)
class Clearing:
    """A line that cleared or zeroed gradients."""

    op: int
    frame: int
    serials: frozenset[int]
