"""The trace's facts in the shape that rules ask for them. Pure: no torch, no screen."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from gradpm.trace.model import Event, Frame, Spec, Trace
from gradpm.trace.schema import THREAD_SHIFT, Call, GradState, Leaf, LeafKind, Op, Out, Table


@dataclass(slots=True)
class OpRow:
    """One op: what went in and out, by serial, and the circumstances."""

    row: int
    id: int
    name: str
    frame: int
    scope: int
    flags: int
    seq: int
    detail: int
    ins: tuple[int, ...]
    outs: tuple[int, ...]
    specs: tuple[int, ...]
    oflags: tuple[int, ...]

    def has(self, flag: Op) -> bool:
        """Whether a flag is set."""
        return int.__and__(self.flags, flag) != 0  # an enum's own `&` takes ten times as long

    @property
    def thread(self) -> int:
        """The number of the thread it ran in; 0 is the main one."""
        return self.flags >> THREAD_SHIFT

    def requires(self, at: int) -> bool:
        """Whether the output at this place requires grad."""
        return at < len(self.oflags) and int.__and__(self.oflags[at], Out.REQUIRES) != 0

    def is_leaf(self, at: int) -> bool:
        """Whether the output at this place is a leaf that requires grad."""
        return at < len(self.oflags) and int.__and__(self.oflags[at], Out.LEAF) != 0


@dataclass(slots=True)
class GradRow:
    """A leaf's gradient right after one engine call."""

    backward: int
    leaf: int
    state: GradState
    flags: int
    version: int
    norm: float
    absmax: float
    nan: int
    inf: int
    zero: float

    @property
    def requires(self) -> bool:
        """Whether the leaf required grad then."""
        return bool(self.flags & Leaf.REQUIRES)

    @property
    def fresh(self) -> bool:
        """Whether this call changed the gradient."""
        return bool(self.flags & Leaf.FRESH)

    @property
    def reached(self) -> bool:
        """Whether the graph that was read has a node for this leaf."""
        return bool(self.flags & Leaf.REACHED)


@dataclass(slots=True)
class Backward:
    """One engine call."""

    row: int
    number: int
    flags: Call
    frame: int
    op: int
    op_end: int
    parent: int
    error: int  # row of the error, -1 for none
    nodes: int
    step: int
    ns: int
    loss: float | None
    roots: tuple[int, ...]
    inputs: tuple[int, ...]
    grads: dict[int, GradRow] = field(default_factory=dict)

    @property
    def is_grad_call(self) -> bool:
        """`autograd.grad`, which fills no `.grad`."""
        return bool(self.flags & Call.GRAD_CALL)

    @property
    def raised(self) -> bool:
        """Whether the engine raised."""
        return bool(self.flags & Call.RAISED)


@dataclass(slots=True)
class Optimizer:
    """One optimizer: where it was made, what it owns, when it acted."""

    id: int
    type: str
    frame: int
    op: int
    params: dict[int, int] = field(default_factory=dict)  # serial -> op id when it was given
    options: list[dict[str, Any]] = field(default_factory=list)
    groups: list[list[int]] = field(default_factory=list)  # serials, a list for each of `options`
    steps: list[Event] = field(default_factory=list)
    stepped: list[Event] = field(default_factory=list)
    zeroed: list[Event] = field(default_factory=list)


@dataclass(slots=True)
class Parameter:
    """A parameter, or another leaf that is expected to get a gradient."""

    serial: int
    name: str
    spec: Spec
    frame: int
    op: int


class Facts:
    """What the rules read."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    # -- ops -------------------------------------------------------------------

    @cached_property
    def op_count(self) -> int:
        """How many op rows the trace keeps."""
        return len(self.trace.table(Table.OP))

    @cached_property
    def _op_columns(self) -> tuple[Any, ...]:
        columns = self.trace.table(Table.OP)
        names = ("id", "name", "frame", "scope", "flags", "seq", "detail")
        return tuple(columns[name] for name in names)

    @cached_property
    def ragged(self) -> tuple[Any, Any, Any, Any, Any, Any]:
        """(in starts, ins, out starts, outs, specs, output flags) of the op table."""
        columns = self.trace.table(Table.OP)
        in_starts, ins = columns.ragged("in")
        out_starts, outs = columns.ragged("out")
        _, specs = columns.ragged("spec", "nout")
        _, oflags = columns.ragged("oflags", "nout")
        return in_starts, ins, out_starts, outs, specs, oflags

    def op(self, row: int) -> OpRow:
        """One op row."""
        ids, names, frames, scopes, flags, seqs, details = self._op_columns
        in_starts, ins, out_starts, outs, specs, oflags = self.ragged
        first, last = out_starts[row], out_starts[row + 1]
        return OpRow(
            row, ids[row], self.trace.string(names[row]), frames[row], scopes[row], flags[row],
            seqs[row], details[row], tuple(ins[in_starts[row] : in_starts[row + 1]]),
            tuple(outs[first:last]), tuple(specs[first:last]), tuple(oflags[first:last]),
        )  # fmt: skip

    def ops(self, first: int = 0, end: int | None = None) -> Iterator[OpRow]:
        """Op rows in order."""
        for row in range(first, self.op_count if end is None else end):
            yield self.op(row)

    def row_at(self, op: int) -> int:
        """The first row whose op id is not below this one."""
        return bisect.bisect_left(self.trace.op_ids, op)

    @cached_property
    def makers(self) -> dict[int, int]:
        """The row in which each serial first came out of an op."""
        _, _, out_starts, outs, _, _ = self.ragged
        found: dict[int, int] = {}
        for row in range(self.op_count):
            for at in range(out_starts[row], out_starts[row + 1]):
                found.setdefault(outs[at], row)
        return found

    @cached_property
    def users(self) -> dict[int, list[int]]:
        """The rows into which each serial goes."""
        in_starts, ins, *_ = self.ragged
        found: dict[int, list[int]] = {}
        for row in range(self.op_count):
            for at in range(in_starts[row], in_starts[row + 1]):
                found.setdefault(ins[at], []).append(row)
        return found

    def spec_of(self, serial: int) -> Spec:
        """Shape and type of a tensor where it was made."""
        leaf = self.trace.leaves.get(serial)
        if leaf is not None:
            return leaf.spec
        row = self.makers.get(serial)
        if row is None:
            return Spec((), "", "", "")
        op = self.op(row)
        return self.trace.spec(op.specs[op.outs.index(serial)])

    # -- backwards --------------------------------------------------------------

    @cached_property
    def backwards(self) -> list[Backward]:
        """Every engine call, by number."""
        columns = self.trace.table(Table.BACKWARD)
        root_starts, roots = columns.ragged("root")
        input_starts, inputs = columns.ragged("input")
        found = []
        for row in range(len(columns)):
            flags = Call(columns["flags"][row] & 1023)
            found.append(
                Backward(
                    row,
                    columns["number"][row],
                    flags,
                    columns["frame"][row],
                    columns["op"][row],
                    columns["op_end"][row],
                    columns["parent"][row] - 1,
                    columns["error"][row] - 1,
                    columns["nodes"][row],
                    columns["step"][row],
                    columns["ns"][row],
                    columns["loss"][row] if flags & Call.LOSS else None,
                    tuple(roots[root_starts[row] : root_starts[row + 1]]),
                    tuple(inputs[input_starts[row] : input_starts[row + 1]]),
                )
            )
        found.sort(key=lambda backward: backward.number)
        by_number = {backward.number: backward for backward in found}
        for grad in self._grads:
            if grad.backward in by_number:
                by_number[grad.backward].grads[grad.leaf] = grad
        return found

    @cached_property
    def _grads(self) -> list[GradRow]:
        columns = self.trace.table(Table.GRAD)
        names = ("backward", "leaf", "state", "flags", "version",
                 "norm", "absmax", "nan", "inf", "zero")  # fmt: skip
        states = {int(state): state for state in GradState}
        return [
            GradRow(values[0], values[1], states.get(values[2], GradState.UNREAD), *values[3:])
            for values in zip(*(columns[name] for name in names), strict=True)
        ]

    @cached_property
    def accumulating(self) -> list[Backward]:
        """The calls that fill `.grad`: backward, not autograd.grad, and not raised."""
        return [b for b in self.backwards if not b.is_grad_call and not b.raised]

    # -- parameters and optimizers --------------------------------------------------

    @cached_property
    def parameters(self) -> dict[int, Parameter]:
        """Parameters, leaves that an optimizer owns, and leaves that are `unfed`, by serial."""
        owned = self.owners
        found = {}
        for serial, leaf in self.trace.leaves.items():
            if leaf.kind is LeafKind.BUFFER:
                continue
            if leaf.kind is LeafKind.PARAMETER or serial in owned:
                found[serial] = Parameter(
                    serial, self.trace.name(serial), leaf.spec, leaf.frame, leaf.op
                )
        for serial in self.unfed:
            if serial not in found:
                maker = self.makers.get(serial)
                frame, made = (
                    (self.op(maker).frame, self.op(maker).id) if maker is not None else (0, 0)
                )
                found[serial] = Parameter(
                    serial, self.trace.name(serial), self.spec_of(serial), frame, made
                )
        return found

    @cached_property
    def unfed(self) -> dict[int, list[int]]:
        """Other leaves, whose `.grad` the script read and found None; after which calls."""
        from gradpm.diagnose.unfed import unfed_leaves

        return unfed_leaves(self)

    @cached_property
    def optimizers(self) -> list[Optimizer]:
        """Every optimizer, in order of construction."""
        found: dict[int, Optimizer] = {}
        for event in self.trace.events:
            if not event.kind.startswith("optimizer."):
                continue
            optimizer = found.get(event.object)
            if optimizer is None:
                kind = str(event.detail.get("type", "optimizer"))
                optimizer = Optimizer(event.object, kind, event.frame, event.op)
                found[event.object] = optimizer
            if event.kind in ("optimizer.new", "optimizer.group"):
                _groups(optimizer, event)
            elif event.kind == "optimizer.step":
                optimizer.steps.append(event)
            elif event.kind == "optimizer.stepped":
                optimizer.stepped.append(event)
            elif event.kind == "optimizer.zero_grad":
                optimizer.zeroed.append(event)
        return list(found.values())

    @cached_property
    def owners(self) -> dict[int, list[Optimizer]]:
        """The optimizers that own each serial."""
        found: dict[int, list[Optimizer]] = {}
        for optimizer in self.optimizers:
            for serial in optimizer.params:
                found.setdefault(serial, []).append(optimizer)
        return found

    # -- places ----------------------------------------------------------------

    def user_frame(self, frame: int) -> Frame | None:
        """The innermost frame in the user's code; the innermost of a library where none is."""
        return self.trace.user_frame(frame)


def _groups(optimizer: Optimizer, event: Event) -> None:
    groups = event.detail.get("groups")
    if not isinstance(groups, list):
        return
    optimizer.options, optimizer.groups = [], []
    for group in groups:
        if not isinstance(group, dict):
            continue
        options = group.get("options")
        optimizer.options.append(options if isinstance(options, dict) else {})
        members = [s for s in group.get("params") or () if isinstance(s, int)]
        optimizer.groups.append(members)
        for serial in members:
            optimizer.params.setdefault(serial, event.op)
