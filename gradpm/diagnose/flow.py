"""The flow of values: from parameters forward through every op, tracked or not.

Each parameter of interest owns one bit. Going once through the op rows, every
serial gets three sets of bits: `tracked`, those whose gradient can still come back
from here; `lost`, those whose value is in here although tracking stopped, each
with the row where it stopped first; `frozen`, those that did not require grad when
they went in. What stands at a backward's roots tells who gets a gradient and, for
the rest, which line is to blame.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from operator import attrgetter

from gradpm.diagnose.backwards import Backward
from gradpm.diagnose.facts import Facts
from gradpm.diagnose.losing import NONE_LOST, Kinds, Lost, also_lost, united
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.passing import Rows
from gradpm.trace.schema import LinkHow, Op, Table

VIEWS = frozenset(
    """view reshape detach data.__get__ T.__get__ mT.__get__ H.__get__ mH.__get__ real.__get__
    imag.__get__ transpose permute squeeze unsqueeze expand expand_as select narrow unbind split
    chunk __getitem__ flatten unflatten t diagonal swapaxes swapdims movedim view_as ravel
    tensor_split hsplit vsplit dsplit unfold real imag view_as_real view_as_complex squeeze_
    unsqueeze_ transpose_ t_ detach_ alias as_strided moveaxis adjoint split_with_sizes __iter__
    Variable contiguous reshape_as Parameter from_numpy numpy broadcast_to unsafe_split
    unsafe_chunk unsafe_split_with_sizes linalg_diagonal atleast_1d atleast_2d atleast_3d
    broadcast_tensors meshgrid conj resolve_conj resolve_neg positive values indices crow_indices
    col_indices ccol_indices row_indices coalesce _values _indices swapaxes_ swapdims_
    as_strided_""".split()
)
PAIRED = frozenset("atleast_1d atleast_2d atleast_3d broadcast_tensors meshgrid".split())
# the second tensor gives its shape, dtype or device, and no value
TEMPLATED = frozenset("to type_as view_as expand_as reshape_as".split())
NO_VALUE = frozenset(  # what comes out does not depend on the values that went in
    """grad.__get__ grad.__set__ _grad.__set__ register_hook retain_grad zeros_like ones_like
    empty_like rand_like randn_like randint_like full_like new_zeros new_ones new_empty new_full
    new_empty_strided""".split()
)
LAST = 1 << 64  # beyond every op id
PART = 256  # rows that are passed by together where none of them matters
SWITCHES = frozenset("requires_grad_ requires_grad.__set__".split())
NO_USE = frozenset(("__deepcopy__", "Parameter"))
SPECIAL = SWITCHES | NO_VALUE | {"checkpoint"}  # they count even where nothing of interest goes in


@dataclass(slots=True)
class AtRoot:
    """What stands at the roots of one engine call."""

    number: int
    tracked: int = 0
    lost: Lost = field(default_factory=dict)
    frozen: int = 0


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


class Flow:
    """One pass over the rows for a set of parameters; read the results after `run`."""

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
        self.roots: dict[int, AtRoot] = {}
        self.escaped: dict[int, int] = {}  # row where a value left torch -> bits
        self.left_at: dict[int, int] = {}  # serial -> row where its value last left
        self.touched: dict[int, Touch] = {serial: Touch() for serial in self.serials}
        self.alias: dict[int, list[int]] = {}
        self.horizon = LAST
        self._waiting: list[Backward] = []  # calls whose roots were not looked at, the next last

    def run(self) -> Flow:
        """Go through all rows; the state at each engine call is kept in `roots`."""
        self._start()
        self._waiting = sorted(self.facts.backwards, key=attrgetter("op"))[::-1]
        self.horizon = self._waiting[0].op if self._waiting else LAST
        links = self._links()
        rows = Rows(self.facts, SPECIAL, _is_plain)
        known = (self.tracked, self.lost, self.frozen)
        for first in range(0, self.facts.op_count, PART):
            part = range(first, min(first + PART, self.facts.op_count))
            if not rows.pass_by(part, known, links):
                self._go(rows, part, links)
        self._catch_up(LAST)
        return self

    def _go(self, rows: Rows, part: range, links: dict[int, list[tuple[int, int]]]) -> None:
        """Through some of the rows, one by one."""
        tracked, lost, frozen, bits = self.tracked, self.lost, self.frozen, self.bit
        due = self._waiting[-1].op if self._waiting else LAST
        for row, (op_id, taken, made, plain, odd) in enumerate(rows.of(part), part.start):
            if due <= op_id:
                due = self._catch_up(op_id)
            for serial in taken:
                if serial in tracked or serial in lost or serial in frozen:
                    if plain and rows.makes_tracked(row, taken, made):
                        self._pass_on(rows, row, op_id, taken, made)
                    else:
                        self.step(self.facts.op(row))
                    break
            else:
                if odd:
                    self.step(self.facts.op(row))
                else:
                    for out in made:
                        known = out in tracked or out in lost or out in frozen
                        if known and out not in bits and out not in taken:
                            self._clear(out)
            if op_id in links:
                self._come_back(self.facts.op(row), links[op_id])

    def _catch_up(self, op_id: int) -> int:
        """Keep what stands at the roots of the calls made by then; when the next one is due."""
        while self._waiting and self._waiting[-1].op <= op_id:
            call = self._waiting.pop()
            self._snapshot(call.number, call.roots)
        return self._waiting[-1].op if self._waiting else LAST

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

    def _start(self) -> None:
        leaves = self.facts.trace.leaves
        for serial in self.serials:
            leaf = leaves.get(serial)
            self.requires[serial] = leaf is None or bool(leaf.flags & 1)
            if not self.requires[serial]:
                self.frozen[serial] = self.tracked.pop(serial)

    def _links(self) -> dict[int, list[tuple[int, int]]]:
        columns = self.facts.trace.table(Table.LINK)
        found: dict[int, list[tuple[int, int]]] = {}
        rows = zip(columns["op"], columns["source"], columns["how"], strict=True)
        for op, source, how in rows:
            found.setdefault(op, []).append((source, how))
        return found

    def _snapshot(self, number: int, roots: Sequence[int]) -> None:
        state = AtRoot(number)
        for root in roots:
            state.tracked |= self.tracked.get(root, 0)
            state.frozen |= self.frozen.get(root, 0)
        state.lost = united((self.lost.get(root, NONE_LOST) for root in roots), self._kinds)
        self.roots[number] = state

    def _came_back(self, op: OpRow, source: int) -> None:
        """A value that had left torch goes into this op's result."""
        row = self.left_at.get(source, op.row)
        bits = self.tracked.get(source, 0)
        for out in op.outs:
            lost = self.lost.get(out, NONE_LOST)
            if bits:
                lost = also_lost(lost, row, bits, self._kinds)
            self.lost[out] = united((lost, self.lost.get(source, NONE_LOST)), self._kinds)

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

    def escapes(self, serial: int) -> bool:
        """Whether the parameter's own value left torch before the last engine call."""
        bit = self.bit[serial]
        return any(
            bits & bit and self.facts.op(row).id <= self.horizon
            for row, bits in self.escaped.items()
        )

    def named(self, bits: int) -> list[int]:
        """The serials that own these bits."""
        return [serial for serial, bit in self.bit.items() if bit & bits]


def _is_plain(name: str) -> bool:
    """Whether an op of this name only makes something new of the values that go in."""
    odd = name in VIEWS or name in TEMPLATED or name in SPECIAL or name in NO_USE
    return not (odd or is_mutating(name))


@lru_cache(maxsize=4096)
def is_mutating(name: str) -> bool:
    """Whether torch's name for an op says that it changes its first argument."""
    if name in ("__setitem__", "set_", "data.__set__"):
        return True
    if name.startswith("__i") and name.endswith("__"):
        return name not in ("__index__", "__int__", "__invert__", "__iter__")
    return name.endswith("_") and not name.endswith("__") and name not in SWITCHES


def views_of(op: OpRow) -> list[tuple[int, int]]:
    """(base, view) for each view that an op hands out; empty for one that makes none."""
    if op.name not in VIEWS or not op.ins or (op.name == "__getitem__" and len(op.ins) > 1):
        return []  # a tensor as index gathers: a copy
    paired = op.name in PAIRED and len(op.ins) == len(op.outs)
    bases = op.ins if paired else op.ins[:1] * len(op.outs)
    return [(base, out) for base, out in zip(bases, op.outs, strict=True) if out not in op.ins]


def target_of(op: OpRow) -> int:
    """The serial that an op changes in place; 0 when it changes none."""
    if is_mutating(op.name) and op.ins:
        return op.ins[0]
    if not op.outs or op.outs[0] not in op.ins or op.has(Op.FUNCTION):
        return 0
    return 0 if op.name in VIEWS or op.name in TEMPLATED else op.outs[0]


def is_use(op: OpRow, serial: int) -> bool:
    """Whether an op takes part in a forward, rather than initialise or update the parameter."""
    if op.has(Op.IN_STEP) or op.has(Op.IN_OPTIM) or op.has(Op.SETTER) or op.has(Op.UNSEEN):
        return False
    if op.name in NO_VALUE or op.name in SWITCHES or op.name in NO_USE:
        return False
    if op.name in TEMPLATED and op.ins[:1] != (serial,):
        return False
    return not (is_mutating(op.name) and op.ins[:1] == (serial,))
