"""What the op tap asks beside its hot path: unseen tensors, nested arguments, changes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import CodeType
from typing import TYPE_CHECKING, Any

import torch

from gradpm.record.faults import is_ours
from gradpm.record.plans import Plan
from gradpm.record.quiet import EXACT, is_leaf, version_of
from gradpm.record.saved import operand_facts
from gradpm.record.shared import Shared
from gradpm.record.singular import is_tame, scalar_of
from gradpm.record.tracebacks import PLAIN_CALL
from gradpm.trace.schema import LeafKind, LinkHow, Op, Out

if TYPE_CHECKING:
    from gradpm.record.oprow import OpWriter

Tensor = torch.Tensor
OPTIM = os.sep + os.path.join("torch", "optim") + os.sep


@dataclass(slots=True)
class Before:
    """What was noted as a call began that may change what it is given."""

    flags: int = 0
    detail: int = 0
    versions: list[tuple[Any, int]] | None = None


PLAINLY = Before()  # all that is to be known is known afterwards


def _after(tensor: Any) -> int:
    """The sequence number after what made a tensor out of our sight; 0, which owns no node.

    Its row is written when the op that takes it has run: that op's nodes are not its own.
    """
    if not tensor.requires_grad or is_leaf(tensor):
        return 0
    try:
        made_as = tensor.grad_fn._sequence_nr()
    except RuntimeError:  # a view made under no_grad, its base changed since
        return 0
    return int(min(made_as + 1, torch._C._autograd._get_sequence_nr()))


def versions_of(args: Any, kwargs: Any) -> list[tuple[Any, int]]:
    """The plain tensors that a call is given, each with its version counter."""
    found = [(arg, version_of(arg)) for arg in args if type(arg) in EXACT]
    if kwargs:
        found += [(arg, version_of(arg)) for arg in kwargs.values() if type(arg) in EXACT]
    return found


class Values(Shared):
    """The part of the recorder that looks at what goes into calls and comes out of them."""

    def place(self, frame: Any) -> tuple[int, int, CodeType | None]:
        """(stack, scope, the code to call torch from) of a frame's line not met before.

        No code where torch's own optimizers stand, whose reading is not written down.
        """
        try:
            return self._place(frame)
        except Exception as fault:
            if not is_ours(fault):
                raise
            self.fault("op tap", fault)
            return 0, 0, PLAIN_CALL

    def _place(self, frame: Any) -> tuple[int, int, CodeType | None]:
        if self.stacks.hides(frame.f_code):
            return *self.stacks.at(frame), self.stands.of(frame)
        token = self.stacks.token(frame)
        site = token.lines.sites.get(frame.f_lasti)
        if site is None:
            if OPTIM in frame.f_code.co_filename:
                if id(frame.f_code) not in self.optim_codes:
                    self.kept.append(frame.f_code)
                    self.optim_codes.add(id(frame.f_code))
                return self.stacks.at(frame)[0], token.scope, None
            site = token.lines.sites[frame.f_lasti] = (
                self.stacks.at(frame)[0], self.stands.of(frame)
            )  # fmt: skip
        return site[0], token.scope, site[1]

    def spec_of(self, tensor: Any) -> int:
        """The id of a tensor's shape and type."""
        return self.specs.of(tensor)

    def first_seen(self, tap: OpWriter, tensor: Any, frame: Any) -> int:
        """A tensor that no tap saw being made: an `UNSEEN` row, or a leaf for a parameter."""
        stack, scope = self.stacks.at(frame)
        if isinstance(tensor, torch.nn.Parameter):
            return self.leaves.add(tensor, stack, LeafKind.PARAMETER)
        serial = self.identity.new(tensor)
        requires = bool(tensor.requires_grad)
        flags = tap.place | int(Op.UNSEEN) | (Op.OUT_REQUIRES if requires else 0)
        oflags = Out.REQUIRES if requires else Out(0)
        if requires and is_leaf(tensor):
            oflags |= Out.LEAF
            self.leaves.add(tensor, stack, LeafKind.TENSOR, serial=serial)
        tap.last_op = op = self.next_op()
        row = (op, self.strings.id("?"), stack, scope, int(flags), _after(tensor), 0, 0, 1)
        self.ops.op(row, (), (serial, self.specs.of(tensor), int(oflags)))
        return serial

    def collect(
        self,
        tap: OpWriter,
        arg: Any,
        ins: list[int],
        tensors: list[Any],
        frame: Any,
        depth: int = 0,
    ) -> None:
        """Find the tensors inside an argument: lists, tuples, dicts, subclasses."""
        kind = type(arg)
        if kind is list or kind is tuple or issubclass(kind, (tuple, torch.nn.ParameterList)):
            if depth < 4:
                for item in arg:
                    self.collect(tap, item, ins, tensors, frame, depth + 1)
        elif kind is dict:
            for item in arg.values():
                self.collect(tap, item, ins, tensors, frame, depth + 1)
        elif kind is float:
            if self.left.values:
                self.left.meet(arg)
        elif issubclass(kind, Tensor):
            with torch._C.DisableTorchFunction():
                ins.append(tap.serial(arg, frame))
            tensors.append(arg)

    def requires(self, tensor: Any) -> bool:
        """Whether a subclass's tensor requires grad, without asking its own code."""
        with torch._C.DisableTorchFunction():
            return bool(tensor.requires_grad)

    def outputs(self, tap: OpWriter, result: Any, outs: list[int]) -> int:
        """Note each tensor of a result that is not one plain tensor; flags for the row."""
        kind = type(result)
        flags = 0
        if issubclass(kind, (tuple, list)):
            before = len(outs)
            for item in result:
                if item is not None and type(item) not in (int, float, bool, str):
                    flags |= self.outputs(tap, item, outs)
            return flags if len(outs) > before else flags | Op.LEFT
        if not issubclass(kind, Tensor):
            if kind is dict:
                for item in result.values():
                    flags |= self.outputs(tap, item, outs)
                return flags
            return Op.LEFT
        with torch._C.DisableTorchFunction():
            serial = self.identity.find(result) or self.identity.new(result)
            oflags = 0
            if result.requires_grad:
                oflags = int(Out.REQUIRES | Out.LEAF) if is_leaf(result) else int(Out.REQUIRES)
            outs += (serial, self.specs.of(result), oflags)
        return Op.OUT_REQUIRES | Op.IN_REQUIRES if oflags else 0

    def before(self, tap: OpWriter, plan: Any, args: Any, kwargs: Any) -> Before | None:
        """What must be noted before the call, by its plan."""
        how, name = plan[0], plan[2]
        if how == Plan.SINGULAR:
            if is_tame(name, args):
                return None
            scalar = scalar_of(name, args)
            return Before(detail=self.strings.json(scalar)) if scalar else PLAINLY
        if how == Plan.SETTER:
            value = args[1] if len(args) > 1 else (kwargs or {}).get("requires_grad", True)
            unset = value is None or value is False
            return Before(int(Op.SETTER) | (int(Op.NONE_SET) if unset else 0))
        if how == Plan.MUTATES and args and type(args[0]) in (list, tuple):  # torch._foreach_*_
            return Before(versions=[(tensor, version_of(tensor)) for tensor in args[0]])
        if how == Plan.HOOK:
            hook = args[1] if len(args) > 1 else (kwargs or {}).get("hook")
            return Before(detail=self.strings.json({"hook": self.written(hook)}))
        if how == Plan.SWITCH:
            return Before(detail=self.strings.json({"on": bool(args[0]) if args else None}))
        if how == Plan.FACTORY:
            data = args[0] if args else next(iter((kwargs or {}).values()), None)
            if self.left.values or self.left.memory:
                self.left.meet_data(data)
            kind = type(data).__name__
            return None if isinstance(data, Tensor) else Before(
                detail=self.strings.json({"from": kind}))  # fmt: skip
        return PLAINLY

    def after(
        self,
        tap: OpWriter,
        plan: Any,
        op: int,
        ins: list[int],
        tensors: list[Any],
        outs: list[int],
        result: Any,
        before: Before | list[tuple[Any, int]],
    ) -> None:
        """What the call has changed, handed out or copied, by its plan."""
        how = plan[0]
        if isinstance(before, list):
            self._changed(op, before)
        elif how == Plan.SINGULAR:
            self.singular.ran(tap, op, ins, tensors, result)
        elif how == Plan.MUTATES and tensors and before.versions is None:
            for serial, tensor in zip(ins[:1], tensors[:1], strict=True):
                self.changes.add(op, serial, max(version_of(tensor), 0), 1)
        elif before.versions:
            self._changed(op, before.versions)
        elif how == Plan.SETTER and tensors:
            self.identity.changed(tensors[0])
        elif how == Plan.LEAVES and ins and not outs:
            self.left.out(result, ins[0])
        elif how == Plan.COPIES and ins and outs:
            self.left.rows.add(op, ins[0], outs[0], LinkHow.COPY)

    def _changed(self, op: int, versions: list[tuple[Any, int]]) -> None:
        """Which of these tensors a call has written into."""
        for tensor, version in versions:
            now = version_of(tensor)
            if now != version and now >= 0:
                self.changes.add(op, self.identity.changed(tensor), now, 1)

    def wrote(self, op: int, target: Any) -> None:
        """A call was given `out=`, or handed back what it was given: it wrote there."""
        with torch._C.DisableTorchFunction():
            for tensor in target if isinstance(target, (list, tuple)) else (target,):
                if isinstance(tensor, Tensor) and (version := version_of(tensor)) > 0:
                    self.changes.add(op, self.identity.changed(tensor), version, 1)

    def op_raised(
        self, tap: OpWriter, args: Any, kwargs: Any, error: BaseException, op: int, frame: Any
    ) -> None:
        """An op refused what it was given: the exception, its operands, their names."""
        if type(error).__name__ == "_StopRecomputationError":
            return  # how a checkpoint says that it has recomputed enough
        tensors: list[Any] = []
        self.collect(tap, list(args), [], tensors, frame)
        self.collect(tap, dict(kwargs or {}), [], tensors, frame)

        def facts() -> dict[str, Any]:
            self.names.read(frame, self.engine.count)
            return {"row": op, "operands": operand_facts(tensors, self)}

        self.errors.seen(error, op, frame, facts=facts)
