"""The rows of one thread's calls: what went in, what came out, where.

`row` runs for most kinds of ops of the user's program (the tap itself writes the plain
ones), so it asks a tensor only what cannot be found out later from the trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any
from weakref import ref as reference

import torch

from gradpm.record.closures import Closure
from gradpm.record.mode import StackedMode
from gradpm.record.plans import Decision
from gradpm.trace.schema import THREAD_SHIFT, Op, Out

if TYPE_CHECKING:
    from gradpm.record.recorder import Recorder

Tensor = torch.Tensor
Parameter = torch.nn.Parameter
sequence_number = torch._C._autograd._get_sequence_nr
grad_enabled = torch.is_grad_enabled
inference_enabled = torch.is_inference_mode_enabled
FLUSH_AT = 8192
MOST_TOLD = 0xFFFF  # tensors that go in, and that come out
LOOKED_AT = 63  # one row in 64 asks how many wait

GRAD_ENABLED, INFERENCE = int(Op.GRAD_ENABLED), int(Op.INFERENCE)
IN_REQUIRES, OUT_REQUIRES = int(Op.IN_REQUIRES), int(Op.OUT_REQUIRES)
IN_STEP, OTHER_THREAD, MOST_THREADS = int(Op.IN_STEP), int(Op.OTHER_THREAD), 0xFFFF
OUT_REQUIRES_GRAD, OUT_LEAF = int(Out.REQUIRES), int(Out.LEAF)
TRACKED, TRACKED_LEAF = OUT_REQUIRES | IN_REQUIRES, OUT_REQUIRES_GRAD | OUT_LEAF
PLAIN = {int, bool, str, type(None)}  # holds no tensor
NUMBERS = PLAIN | {float}


class OpWriter(StackedMode):
    """Writes what one thread calls. `place` holds the flags of where the thread is now."""

    def __init__(self, recorder: Recorder, number: int = 0) -> None:
        super().__init__()
        self.recorder = recorder
        self.number = number  # of this thread, 0 for the main one
        self.home = (min(number, MOST_THREADS) << THREAD_SHIFT) | (OTHER_THREAD if number else 0)
        self.begin()

    def begin(self) -> None:
        """Take up what the recorder has for all taps; in a forked child, anew."""
        recorder = self.recorder
        self.place = self.home
        self.running: list[Any] = []  # engine calls under way in this thread
        self.rows = recorder.ops
        self.plans = recorder.plans
        self.plain, self.passing = recorder.plain, recorder.passing
        self.stands = recorder.stands
        self.optim = recorder.optim_codes
        self.own_codes, self.lines = recorder.stacks.own, recorder.stacks.lines
        self.scopes, self.module_ids = recorder.scopes, recorder.scopes.module_ids
        self.call_impl = recorder.stacks.call_impl
        self.known = recorder.identity.known
        self.next_serial = recorder.identity.next_serial
        self.next_op = recorder.next_op
        self.spec_of, self.specs = recorder.specs.get, recorder.specs.ids
        self.floating = recorder.specs.floating
        self.left, self.values = recorder.left, recorder.left.values
        self.last_op = 0
        self.has_called = False  # the engine, in this thread
        self.closures: list[Closure | None] = []  # of the steps under way, the innermost last

    def turn(self, stack: int) -> None:
        """The step under way may have called its closure: that is the user's forward again."""
        if self.closures:
            closure = self.closures[-1]
            inside = closure is not None and closure.holds(stack)
            self.place = self.place & ~IN_STEP if inside else self.place | IN_STEP

    def serial(self, tensor: Any, frame: FrameType) -> int:
        """The serial of a tensor; one never seen gets an `UNSEEN` row of its own."""
        entry = self.known.get(id(tensor))
        if entry is not None and entry[0]() is tensor:
            return int(entry[1])
        return self.recorder.first_seen(self, tensor, frame)

    def row(
        self,
        plan: Decision,
        args: tuple[Any, ...],
        kwargs: Any,
        result: Any,
        frame: FrameType,
        before: Any = None,
        extra: int = 0,
        where: tuple[int, int] | None = None,
    ) -> int:
        """Write the row of one call; its op id. `where` is the frame's (stack, scope)."""
        recorder = self.recorder
        ins: list[int] = []
        outs: list[int] = []
        tensors = self._inputs(args, kwargs, ins, frame)
        stack, scope = where if where is not None else recorder.stacks.at(frame)
        if self.closures:
            self.turn(stack)
        flags = self.place | extra
        if result is not None:
            flags |= self._output(result, outs)
        if not flags & OUT_REQUIRES:
            flags |= self.untracked(tensors)
        if grad_enabled():
            flags |= GRAD_ENABLED
        detail = 0
        if before is not None and type(before) is not list:
            flags |= before.flags
            detail = before.detail
        del ins[MOST_TOLD:], outs[3 * MOST_TOLD :]
        sequence, count, made = sequence_number(), len(ins), len(outs) // 3
        self.last_op = op = self.next_op()
        self.rows.op((op, plan[1], stack, scope, flags, sequence, detail, count, made), ins, outs)
        if self.left.met:
            self.left.link(op, outs[0::3])
        if before:
            recorder.after(self, plan, op, ins, tensors, outs[0::3], result, before)
        if kwargs and "out" in kwargs:
            recorder.wrote(op, kwargs["out"])
        if not op & LOOKED_AT and len(self.rows) >= FLUSH_AT:
            recorder.flush_ops(self)
        return op

    def _inputs(self, args: Any, kwargs: Any, ins: list[int], frame: FrameType) -> list[Any]:
        """The tensors that go in, their serials into `ins`."""
        known = self.known
        tensors: list[Any] = []
        for arg in args:
            kind = type(arg)
            if kind is Tensor or kind is Parameter:
                entry = known.get(id(arg))
                if entry is not None and entry[0]() is arg:
                    ins.append(entry[1])
                else:
                    ins.append(self.recorder.first_seen(self, arg, frame))
                tensors.append(arg)
            elif kind is float:
                if self.left.values:
                    self.left.meet(arg)
            elif kind not in PLAIN:
                self.recorder.collect(self, arg, ins, tensors, frame)
        if kwargs:
            for arg in kwargs.values():
                if type(arg) not in PLAIN:
                    self.recorder.collect(self, arg, ins, tensors, frame)
        return tensors

    def _output(self, result: Any, outs: list[int]) -> int:
        """Note what came out: three numbers for each; the flags that it gives the row."""
        kind = type(result)
        if kind is not Tensor and kind is not Parameter:
            return self.recorder.outputs(self, result, outs)
        try:
            spec = self.spec_of((result.shape, result.dtype, result.device))
        except (RuntimeError, TypeError):  # nested tensors, symbolic sizes
            spec = 0
        if spec is None:
            spec = self.recorder.spec_of(result)
        entry = self.known.get(id(result))
        if entry is None or entry[0]() is not result:
            entry = self.known[id(result)] = (reference(result), self.next_serial(), spec)
        elif entry[2] != spec:  # perhaps changed in place
            self.known[id(result)] = (entry[0], entry[1], spec)
        if not result.requires_grad:
            outs += (entry[1], spec, 0)
            return 0
        try:
            leaf = result.is_leaf
        except RuntimeError:  # a view made under no_grad, its base changed since
            leaf = False
        outs += (entry[1], spec, OUT_REQUIRES_GRAD | OUT_LEAF if leaf else OUT_REQUIRES_GRAD)
        return OUT_REQUIRES | IN_REQUIRES

    def untracked(self, tensors: Sequence[Any]) -> int:
        """Flags that only matter where nothing that came out requires grad."""
        flags = INFERENCE if inference_enabled() else 0
        for tensor in tensors:
            kind = type(tensor)
            if kind in NUMBERS:
                continue
            exact = kind is Tensor or kind is Parameter
            if tensor.requires_grad if exact else self.recorder.requires(tensor):
                return flags | IN_REQUIRES
        return flags
