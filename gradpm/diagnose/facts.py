"""The trace's facts in the shape that rules ask for them. Pure: no torch, no screen."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice, pairwise, repeat
from operator import sub
from typing import Any

from gradpm.trace.model import Event, Frame, Spec, Trace
from gradpm.trace.schema import THREAD_SHIFT, Call, GradState, Leaf, LeafKind, Op, Out, Table

# Plain numbers: an enum's own `&` takes ten times as long, and rules ask for each row's flags.
_GRAD_CALL, _CALL_RAISED = int(Call.GRAD_CALL), int(Call.RAISED)
_REQUIRES, _FRESH, _REACHED = int(Leaf.REQUIRES), int(Leaf.FRESH), int(Leaf.REACHED)
_HELD = int(Leaf.HELD)
_OUT_REQUIRES, _OUT_LEAF = int(Out.REQUIRES), int(Out.LEAF)


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
        return int.__and__(self.flags, flag) != 0

    @property
    def thread(self) -> int:
        """The number of the thread it ran in; 0 is the main one."""
        return self.flags >> THREAD_SHIFT

    def requires(self, at: int) -> bool:
        """Whether the output at this place requires grad."""
        return at < len(self.oflags) and self.oflags[at] & _OUT_REQUIRES != 0

    def is_leaf(self, at: int) -> bool:
        """Whether the output at this place is a leaf that requires grad."""
        return at < len(self.oflags) and self.oflags[at] & _OUT_LEAF != 0


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
        return self.flags & _REQUIRES != 0

    @property
    def fresh(self) -> bool:
        """Whether this call changed the gradient."""
        return self.flags & _FRESH != 0

    @property
    def held(self) -> bool:
        """Whether it was already there, untouched and not zero, as the engine started."""
        return self.flags & _HELD != 0

    @property
    def reached(self) -> bool:
        """Whether the graph that was read has a node for this leaf."""
        return self.flags & _REACHED != 0


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
        return int.__and__(self.flags, _GRAD_CALL) != 0

    @property
    def raised(self) -> bool:
        """Whether the engine raised."""
        return int.__and__(self.flags, _CALL_RAISED) != 0


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

    def ops_named(self, names: Container[str]) -> Iterator[OpRow]:
        """The ops of these names, in order; the others are not even decoded."""
        wanted = self.named(names)
        for row, name in enumerate(self.op_names) if wanted else ():
            if name in wanted:
                yield self.op(row)

    @cached_property
    def op_names(self) -> Any:
        """String id of each row's name."""
        return self.trace.table(Table.OP)["name"]

    @cached_property
    def op_flags(self) -> Any:
        """Flags of each row."""
        return self.trace.table(Table.OP)["flags"]

    def named(self, names: Container[str]) -> set[int]:
        """The string ids of these names, to be held against `op_names`."""
        string = self.trace.string
        return {name for name in self._names_used if string(name) in names}

    @cached_property
    def _names_used(self) -> set[int]:
        return set(self.op_names)

    def row_at(self, op: int) -> int:
        """The first row whose op id is not below this one."""
        return bisect.bisect_left(self.trace.op_ids, op)

    @cached_property
    def makers(self) -> dict[int, int]:
        """The row in which each serial first came out of an op."""
        _, _, starts, outs, _, _ = self.ragged
        found: dict[int, int] = {}
        for row, out in zip(_owners(starts), outs, strict=True):
            if out not in found:
                found[out] = row
        return found

    @cached_property
    def users(self) -> dict[int, list[int]]:
        """The rows into which each serial goes."""
        starts, ins, *_ = self.ragged
        found: defaultdict[int, list[int]] = defaultdict(list)
        for row, serial in zip(_owners(starts), ins, strict=True):
            found[serial].append(row)
        found.default_factory = None
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
        names = ("number", "flags", "frame", "op", "op_end", "parent", "error", "nodes", "step",
                 "ns", "loss")  # fmt: skip
        rows = zip(*(columns[name] for name in names), strict=True)
        kinds = {flags: Call(flags & 1023) for flags in set(columns["flags"])}
        found = []
        for row, (number, flags, frame, op, end, parent, error, nodes, step, ns, loss) in enumerate(
            rows
        ):
            kind = kinds[flags]
            found.append(
                Backward(
                    row, number, kind, frame, op, end, parent - 1, error - 1, nodes, step, ns,
                    loss if kind & Call.LOSS else None,
                    tuple(roots[root_starts[row] : root_starts[row + 1]]),
                    tuple(inputs[input_starts[row] : input_starts[row + 1]]),
                )
            )  # fmt: skip
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

    @cached_property
    def accumulating_ops(self) -> list[int] | None:
        """The op ids at which these began; None where they do not rise with their numbers."""
        ops = [call.op for call in self.accumulating]
        return ops if all(one <= two for one, two in pairwise(ops)) else None

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


def _owners(starts: Sequence[int]) -> Iterator[int]:
    """For every element of a ragged column the row that owns it."""
    counts = map(sub, islice(starts, 1, None), starts)
    return chain.from_iterable(map(repeat, range(len(starts) - 1), counts))


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
