"""Who is expected to learn, and who did: judged over the run, not over one call."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from functools import cached_property
from itertools import compress

from gradpm.diagnose.facts import Facts
from gradpm.diagnose.gradients import REQUIRES
from gradpm.diagnose.loop import Loop
from gradpm.diagnose.ops import LAST


class Expected:
    """Parameters that ought to get a gradient, and those that never did."""

    def __init__(self, facts: Facts, loop: Loop) -> None:
        self.facts = facts
        self.loop = loop

    @cached_property
    def requiring(self) -> set[int]:
        """Serials that required grad at some engine call (or when made, if there was none)."""
        gradients = self.facts.gradients
        found = set(compress(gradients.leaves, map(REQUIRES.__and__, gradients.flags)))
        if not self.facts.backwards:
            leaves = self.facts.trace.leaves
            found = {serial for serial in self.facts.parameters if leaves[serial].flags & 1}
        return found

    @cached_property
    def owned(self) -> set[int]:
        """Serials that an optimizer owns."""
        return set(self.facts.owners)

    @cached_property
    def learners(self) -> set[int]:
        """Serials expected to learn."""
        unfed = set(self.facts.unfed)
        if self.facts.optimizers:
            return self.requiring & self.owned | unfed
        return self.requiring & set(self.facts.parameters) - self.templates | unfed

    @cached_property
    def templates(self) -> set[int]:
        """Serials last used to be deep-copied, like the layer that `TransformerEncoder` is given.

        Where no optimizer says who is to learn, the copies are, and not their pattern.
        """
        return {
            serial
            for serial in self.facts.parameters
            if (rows := self.facts.users.get(serial)) and self._is_copying(rows[-1])
        }

    def _is_copying(self, row: int) -> bool:
        stack = self.facts.trace.stack(self.facts.op(row).frame)
        return bool(stack) and stack[0].function.endswith("__deepcopy__")

    @cached_property
    def judged_in(self) -> dict[int, list[int]]:
        """The calls that fill `.grad` in which each serial was alive and required grad."""
        flags = self.facts.gradients.flags
        found: defaultdict[int, list[int]] = defaultdict(list)
        for call in self.facts.accumulating:
            required = map(REQUIRES.__and__, flags[call.grads.rows])
            for serial in compress(call.grads, required):
                found[serial].append(call.number)
        return {**found, **self.facts.unfed}

    @cached_property
    def received(self) -> set[int]:
        """Serials that had a gradient: after a call, from autograd.grad, or set by the program.

        What torch.func, an evolution strategy or another process computed comes in by
        `p.grad = g`, and no engine call of the run need ever have filled it.
        """
        gradients = self.facts.gradients
        # NONE is 0, and so the only state that does not count
        found = set(compress(gradients.leaves, gradients.states))
        for backward in self.facts.backwards:
            if backward.is_grad_call and not backward.raised:
                found.update(s for s in backward.inputs if not self._waits_for_grad(s))
        return found | set(self.loop.by_hand)

    def _waits_for_grad(self, serial: int) -> bool:
        """Whether an optimizer steps with its `.grad`, which only backward() fills."""
        owners = self.facts.owners.get(serial, ())
        return serial in self.judged_in and any(optimizer.steps for optimizer in owners)

    @cached_property
    def consumed_by(self) -> dict[int, set[int]]:
        """For each call that fills `.grad`, the optimizers that step with what it filled."""
        steps = sorted((e.op, one.id) for one in self.facts.optimizers for e in one.steps)
        ops = [op for op, _ in steps]
        found: dict[int, set[int]] = {}
        later: set[int] = set()
        end = LAST
        for call in reversed(self.facts.accumulating):
            inside = slice(bisect_left(ops, call.op), bisect_left(ops, end))
            between = {optimizer for _, optimizer in steps[inside]}
            later = between or later  # what piles up over several calls is used after the last
            found[call.number] = later
            end = call.op
        return found

    def calls_for(self, serial: int) -> list[int]:
        """The calls from which it is to learn: those that its own optimizer steps after."""
        judged = self.judged_in.get(serial, [])
        owners = {optimizer.id for optimizer in self.facts.owners.get(serial, ())}
        own = [number for number in judged if self.consumed_by.get(number, set()) & owners]
        return own or judged

    @cached_property
    def starved(self) -> list[int]:
        """Expected to learn, judged at least once, never given a gradient."""
        return [
            serial
            for serial in self.facts.parameters
            if serial in self.learners and serial not in self.received and serial in self.judged_in
        ]
