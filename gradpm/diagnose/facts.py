"""The trace's facts in the shape that rules ask for them. Pure: no torch, no screen."""

from __future__ import annotations

import bisect
from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import compress, pairwise
from typing import Any

from gradpm.diagnose.backwards import Backward, read_backwards
from gradpm.diagnose.gradients import Gradients
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.optimizers import Optimizer, read_optimizers
from gradpm.diagnose.stretches import owners
from gradpm.diagnose.users import Users
from gradpm.trace.model import Frame, Spec, Trace
from gradpm.trace.schema import LeafKind, Table


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
        return map(self.op, self.rows_named(names))

    def rows_named(self, names: Container[str]) -> Iterator[int]:
        """The rows of the ops of these names, in order."""
        wanted = self.named(names)
        chosen = map(wanted.__contains__, self.op_names) if wanted else ()
        return compress(range(self.op_count), chosen)

    @cached_property
    def grad_reads(self) -> list[int]:
        """The rows that read a `.grad`: clipping alone reads every parameter's in every step."""
        starts, *_ = self.ragged
        rows = self.rows_named(("grad.__get__",))
        return [row for row in rows if starts[row] < starts[row + 1]]

    @cached_property
    def empty_reads(self) -> list[OpRow]:
        """The reads of a `.grad` that gave None, in order."""
        _, _, starts, *_ = self.ragged
        return [self.op(row) for row in self.grad_reads if starts[row] == starts[row + 1]]

    @cached_property
    def op_names(self) -> Any:
        """String id of each row's name."""
        return self.trace.table(Table.OP)["name"]

    @cached_property
    def op_flags(self) -> Any:
        """Flags of each row."""
        return self.trace.table(Table.OP)["flags"]

    @cached_property
    def op_frames(self) -> Any:
        """Stack of each row."""
        return self.trace.table(Table.OP)["frame"]

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
        for row, out in zip(owners(starts), outs, strict=True):
            if out not in found:
                found[out] = row
        return found

    @cached_property
    def users(self) -> Users:
        """The rows into which each serial goes."""
        starts, ins, *_ = self.ragged
        return Users(starts, ins, self.trace.leaves)

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
        return self._engine[0]

    @cached_property
    def gradients(self) -> Gradients:
        """What the engine calls left in `.grad`."""
        return self._engine[1]

    @cached_property
    def _engine(self) -> tuple[list[Backward], Gradients]:
        calls = read_backwards(self.trace)
        gradients = Gradients(self.trace, calls)
        gradients.hand_out()
        return calls, gradients

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
        return read_optimizers(self.trace)

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
