"""What one op does to the values of parameters: where each is tracked, lost or frozen after it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from gradpm.diagnose.facts import Facts
from gradpm.diagnose.losing import NONE_LOST, Kinds, Lost, also_lost, united
from gradpm.diagnose.op_names import NO_VALUE, SWITCHES, TEMPLATED, is_use, target_of, views_of
from gradpm.diagnose.ops import LAST, OpRow
from gradpm.diagnose.passing import Rows
from gradpm.trace.schema import LinkHow, Op


@dataclass(slots=True)
class Touch:
    """How one parameter was used over the run."""

    first: int = -1
    last: int = -1  # last op that took it, or something tracked made of it
    last_tracked: int = -1

    def note(self, row: int, *, tracked: bool) -> None:
        """An op took it."""
        self.first = row if self.first < 0 else self.first
        self.last = row
        if tracked:
            self.last_tracked = row


class Transfer:
    """The state of every tensor that a parameter of interest has reached, and how ops change it."""

    def __init__(self, facts: Facts, serials: Iterable[int]) -> None:
        self.facts = facts
        self._kinds = Kinds(facts)
        self.bit = {serial: 1 << at for at, serial in enumerate(dict.fromkeys(serials))}
        self.serials = list(self.bit)
        self.tracked: dict[int, int] = dict(self.bit)
        self.lost: dict[int, Lost] = {}
        self.frozen: dict[int, int] = {}
        self.switched_off: dict[int, int] = {}  # serial -> row that turned requires_grad off
        self.requires: dict[int, bool] = {}
        self.escaped: dict[int, int] = {}  # row where a value left torch -> bits
        self.left_at: dict[int, int] = {}  # serial -> row where its value last left
        self.touched: dict[int, Touch] = {serial: Touch() for serial in self.serials}
        self.alias: dict[int, list[int]] = {}
        self.horizon = LAST

    def _start(self) -> None:
        leaves = self.facts.trace.leaves
        for serial in self.serials:
            leaf = leaves.get(serial)
            self.requires[serial] = leaf is None or bool(leaf.flags & 1)
            if not self.requires[serial]:
                self.frozen[serial] = self.tracked.pop(serial)

    def step(self, op: OpRow) -> None:
        """One row: what went in decides what is in what came out."""
        if op.name in SWITCHES:
            self._switch(op)
            return
        if op.name == "checkpoint":
            return  # what ran inside has rows of its own
        if op.name in TEMPLATED and len(op.ins) > 1:
            op = replace(op, ins=op.ins[:1])
        if op.name in NO_VALUE or (op.has(Op.RAISED) and not op.outs):
            for out in op.outs:
                if out not in op.ins:
                    self._clear(out)
            return
        if op.name == "detach_" and op.ins:
            self._detach(op)
            return
        if op.has(Op.FUNCTION):
            self._apply(op)
            return
        tracked, lost, frozen = self._taken(op.ins)
        if not (tracked or frozen or lost):
            for out in op.outs:
                if out not in self.bit and out not in op.ins:
                    self._clear(out)
            return
        self._touch(op, tracked)
        mutated = target_of(op)
        if op.has(Op.LEFT) or (not op.outs and not mutated):
            self._left(op, tracked, lost)
            return
        if op.has(Op.IN_STEP) or op.has(Op.IN_OPTIM):
            return
        if mutated:
            self._mutate(op, mutated, tracked, lost, frozen)
        else:
            self._produce(op, tracked, lost, frozen)

    def _taken(self, serials: Iterable[int]) -> tuple[int, Lost, int]:
        """What is tracked, lost and frozen in any of these."""
        tracked = frozen = 0
        several = []
        for serial in serials:
            if serial in self.tracked:
                tracked |= self.tracked[serial]
            if serial in self.frozen:
                frozen |= self.frozen[serial]
            if serial in self.lost and (inner := self.lost[serial]):
                several.append(inner)
        return tracked, united(several, self._kinds) if several else NONE_LOST, frozen

    def _produce(self, op: OpRow, tracked: int, lost: Lost, frozen: int) -> None:
        for at, out in enumerate(op.outs):
            if out in op.ins:
                continue
            if op.requires(at) and not op.is_leaf(at):
                self.tracked[out] = tracked
                new = lost
            else:
                self.tracked.pop(out, None)
                new = also_lost(lost, op.row, tracked, self._kinds) if tracked else lost
                if out in self.bit:
                    self.tracked[out] = self.bit[out]
            self._hold(out, new, frozen)
        for base, view in views_of(op):
            self._share(base, view)

    def _hold(self, out: int, lost: Lost, frozen: int) -> None:
        """What is lost and frozen in a result, and nothing that was so before."""
        if lost:
            self.lost[out] = lost
        elif out in self.lost:
            del self.lost[out]
        if frozen:
            self.frozen[out] = frozen | self.frozen.get(out, 0) * (out in self.bit)
        elif out in self.frozen:
            del self.frozen[out]

    def _detach(self, op: OpRow) -> None:
        """`detach_()`: the same tensor object, without its history from here on."""
        serial = op.ins[0]
        bits = self.tracked.pop(serial, 0)
        if bits:
            self._touch(op, bits)
            self.lost[serial] = {**self.lost.get(serial, NONE_LOST), op.row: bits}

    def _apply(self, op: OpRow) -> None:
        """A custom Function: what ran inside it was no cut; what it hands out decides.

        Re-entrant checkpointing is one too, with parameters that go in unsaid: they
        are tracked when its output is, and lost here when it is not.
        """
        tracked, lost, frozen = self._taken(op.ins)
        inside = 0
        if op.name == "CheckpointFunction.apply":
            for out in op.outs:
                for row, bits in self.lost.get(out, {}).items():
                    if self.facts.op(row).has(Op.IN_FUNCTION):
                        inside |= bits
                inside |= self.tracked.get(out, 0)
        self._touch(op, tracked)
        self._produce(op, tracked | inside, lost, frozen)

    def _mutate(self, op: OpRow, target: int, tracked: int, lost: Lost, frozen: int) -> None:
        """The target, and everything that shares its memory, takes in the other inputs."""
        gain, lost_too, frozen_too = self._taken(serial for serial in op.ins if serial != target)
        keeps = op.has(Op.GRAD_ENABLED) and op.name != "data.__set__"
        if gain and not keeps:
            lost_too = also_lost(lost_too, op.row, gain, self._kinds)
            gain = 0
        for member in {target, *self.alias.get(target, ())}:
            if gain:
                self.tracked[member] = self.tracked.get(member, 0) | gain
            if lost_too:
                held = self.lost.get(member, NONE_LOST)
                self.lost[member] = united((held, lost_too), self._kinds)
            if frozen_too:
                self.frozen[member] = self.frozen.get(member, 0) | frozen_too

    def _left(self, op: OpRow, tracked: int, lost: Lost) -> None:
        for serial in op.ins:
            self.left_at[serial] = op.row
        bits = tracked
        for inner in lost.values():
            bits |= inner
        if bits and op.has(Op.LEFT):
            self.escaped[op.row] = self.escaped.get(op.row, 0) | bits

    def _switch(self, op: OpRow) -> None:
        for serial in op.ins[:1]:
            on = not op.has(Op.NONE_SET)
            bits = self.bit.get(serial, 0)
            if not on and bits and self.requires.get(serial, True):
                self.switched_off[serial] = op.row
            if bits:
                self.requires[serial] = on
                held = self.tracked.get(serial, 0) | self.frozen.get(serial, 0) | bits
                (self.frozen if on else self.tracked).pop(serial, None)
                (self.tracked if on else self.frozen)[serial] = held

    def _share(self, base: int, view: int) -> None:
        group = self.alias.setdefault(base, [base])
        if len(group) < 64:
            group.append(view)
        self.alias[view] = group

    def _clear(self, serial: int) -> None:
        self.tracked.pop(serial, None)
        self.lost.pop(serial, None)
        self.frozen.pop(serial, None)

    def _touch(self, op: OpRow, tracked: int) -> None:
        if op.id > self.horizon:
            return  # after the last engine call: printing, evaluation
        for serial in op.ins:
            touch = self.touched.get(serial)
            if touch is not None and is_use(op, serial):
                touch.note(op.row, tracked=op.has(Op.OUT_REQUIRES) and op.has(Op.GRAD_ENABLED))

    def _come_back(self, op: OpRow, links: Iterable[tuple[int, int]]) -> None:
        for source, how in links:
            if how not in (LinkHow.WRAP, LinkHow.COPY):
                self._came_back(op, source)

    def _pass_on(
        self, rows: Rows, row: int, op_id: int, taken: Sequence[int], made: Sequence[int]
    ) -> None:
        """What `step` does, without decoding a row that is one of the many plain ones."""
        tracked, lost, frozen = self._taken(taken)
        if op_id <= self.horizon:
            for serial in taken:
                touch = self.touched.get(serial)
                if touch is not None:
                    touch.note(row, tracked=rows.is_forward(row))
        for out in made:
            self.tracked[out] = tracked
            if lost or frozen or out in self.lost or out in self.frozen:
                self._hold(out, lost, frozen)

    def _came_back(self, op: OpRow, source: int) -> None:
        """A value that had left torch goes into this op's result."""
        row = self.left_at.get(source, op.row)
        bits = self.tracked.get(source, 0)
        for out in op.outs:
            lost = self.lost.get(out, NONE_LOST)
            if bits:
                lost = also_lost(lost, row, bits, self._kinds)
            self.lost[out] = united((lost, self.lost.get(source, NONE_LOST)), self._kinds)
