"""The op tap: one row for each torch function that the script calls.

This is the hot path. It runs for every op of the user's program, so it is written
out in full rather than divided, reads no attribute twice, and asks a tensor only
what cannot be found out later from the trace.
"""

from __future__ import annotations

import sys
from types import FrameType, FunctionType
from typing import TYPE_CHECKING, Any
from weakref import ref as reference

import torch
from torch.overrides import TorchFunctionMode

from gradpm.record.closures import Closure
from gradpm.record.faults import is_ours
from gradpm.record.plans import Plan, is_lasting, plan_of
from gradpm.record.tracebacks import strip
from gradpm.record.values import versions_of
from gradpm.trace.schema import THREAD_SHIFT, Op, Out

if TYPE_CHECKING:
    from gradpm.record.recorder import Recorder

Tensor = torch.Tensor
Parameter = torch.nn.Parameter
EXACT = {Tensor, Parameter}
sequence_number = torch._C._autograd._get_sequence_nr
grad_enabled = torch.is_grad_enabled
inference_enabled = torch.is_inference_mode_enabled
getframe, gettrace, getprofile = sys._getframe, sys.gettrace, sys.getprofile
DISPATCH = torch.overrides.handle_torch_function.__code__
FLUSH_AT = 8192
MOST_PLANS = 8192

UNKNOWN = (int(Plan.PASS), 0, "")
GRAD_ENABLED, INFERENCE = int(Op.GRAD_ENABLED), int(Op.INFERENCE)
IN_REQUIRES, OUT_REQUIRES = int(Op.IN_REQUIRES), int(Op.OUT_REQUIRES)
RAISED, UNSEEN, LEFT = int(Op.RAISED), int(Op.UNSEEN), int(Op.LEFT)
SETTER, NONE_SET, IN_STEP = int(Op.SETTER), int(Op.NONE_SET), int(Op.IN_STEP)
OTHER_THREAD, MOST_THREADS = int(Op.OTHER_THREAD), 0xFFFF
OUT_REQUIRES_GRAD, OUT_LEAF = int(Out.REQUIRES), int(Out.LEAF)
PASS, OP, MUTATES, ITERATES, MAY_MUTATE = (
    int(Plan.PASS), int(Plan.OP), int(Plan.MUTATES), int(Plan.ITERATES), int(Plan.MAY_MUTATE),
)  # fmt: skip
PLAIN = {int, bool, str, type(None)}  # holds no tensor


class OpTap(TorchFunctionMode):
    """Records the ops of one thread. `place` holds the flags of where the thread is now."""

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
        self.stands = recorder.stands
        self.optim = recorder.optim_codes
        self.known = recorder.identity.known
        self.next_serial = recorder.identity.next_serial
        self.spec_of = recorder.specs.get
        self.last_op = 0
        self.has_called = False  # the engine, in this thread
        self.closures: list[Closure | None] = []  # of the steps under way, the innermost last

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        plan = self.plans.get(func)
        if plan is None:
            plan = self.recorder.guard("op tap", self.learn, func) or UNKNOWN
        how = plan[0]
        if how == PASS:
            return self.passed(func, args, kwargs)
        frame: Any = getframe(1)
        if not self.recorder.on:
            return self.called(func, args, kwargs, frame)
        code = frame.f_code
        if code is DISPATCH:  # torch's Python functions come by a detour of two frames
            frame = frame.f_back.f_back
            code = frame.f_code
        if id(code) in self.optim and (how != MUTATES or type(args[0]) is not Parameter):
            return self.passed(func, args, kwargs)
        token = frame.f_trace
        try:  # a line seen before: nothing to walk
            stack, stand = token.lines.sites[frame.f_lasti]
            scope = token.scope
        except (AttributeError, KeyError, TypeError):
            stack, scope, stand = self.recorder.place(frame)
        before = None
        if how == MAY_MUTATE:
            before = versions_of(args, kwargs)
        elif how != OP:
            before = self.recorder.guard("op tap", self.recorder.before, self, plan, args, kwargs)
        try:
            if gettrace() is None and getprofile() is None:
                result = FunctionType(stand, frame.f_globals)(func, args, kwargs)
            else:
                result = self.stands.call_unseen(stand, frame, func, args, kwargs)
            if how == ITERATES:
                result = tuple(result)
        except BaseException as error:
            strip(error, self.stands)
            self.recorder.guard("op tap", self.raised, plan, args, kwargs, error, frame)
            raise
        try:
            self.row(plan, args, kwargs, result, frame, before, 0, (stack, scope))
        except Exception as fault:
            if not is_ours(fault):
                strip(fault)
                raise
            self.recorder.fault("op tap", fault)
        return iter(result) if how == ITERATES else result

    def passed(self, func: Any, args: tuple[Any, ...], kwargs: Any) -> Any:
        """Call, and leave no row."""
        try:
            return func(*args, **kwargs) if kwargs else func(*args)
        except BaseException as error:
            strip(error)
            raise

    def called(self, func: Any, args: tuple[Any, ...], kwargs: Any, frame: Any) -> Any:
        """Call as from the user's line, and leave no row: recording has stopped."""
        if frame.f_code is DISPATCH:
            return self.passed(func, args, kwargs)
        try:
            return self.stands.call(frame, func, args, kwargs)
        except BaseException as error:
            strip(error, self.stands)
            raise

    def learn(self, func: Any) -> tuple[int, int, str]:
        """Decide once what to do with a function."""
        how, name = plan_of(func)
        plan = (int(how), self.recorder.strings.id(name), name)
        if len(self.plans) < MOST_PLANS and is_lasting(func):
            self.plans[func] = plan
        return plan

    def is_on(self) -> bool:
        """Whether this tap acts at this moment (torch takes modes off while one handles)."""
        depth = torch._C._len_torch_function_stack()
        return any(torch._C._get_function_stack_at(at) is self for at in range(depth))

    def place_in_stack(self) -> int | None:
        """Where this tap stands in this thread's stack of modes; None if it is not there."""
        for at in range(torch._C._len_torch_function_stack()):
            if torch._C._get_function_stack_at(at) is self:
                return at
        return None

    def leave(self) -> None:
        """Act no more in this thread, wherever in its stack of modes this one stands."""
        above = []
        while torch._C._len_torch_function_stack():
            mode = torch._C._pop_torch_function_stack()
            if mode is self:
                break
            above.append(mode)
        for mode in reversed(above):
            torch._C._push_on_torch_function_stack(mode)

    def enter_at(self, place: int) -> None:
        """Act again, at this place in this thread's stack of modes."""
        above = []
        while torch._C._len_torch_function_stack() > place:
            above.append(torch._C._pop_torch_function_stack())
        torch._C._push_on_torch_function_stack(self)
        for mode in reversed(above):
            torch._C._push_on_torch_function_stack(mode)

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
        plan: tuple[int, int, str],
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
        specs: list[int] = []
        oflags: list[int] = []
        tensors = self._inputs(args, kwargs, ins, frame)
        stack, scope = where if where is not None else recorder.stacks.at(frame)
        if self.closures:
            self.turn(stack)
        flags = self.place | extra
        if result is not None:
            flags |= self._output(result, outs, specs, oflags)
        if not flags & OUT_REQUIRES:
            flags |= self._untracked(tensors)
        if grad_enabled():
            flags |= GRAD_ENABLED
        detail = 0
        if before is not None and type(before) is not list:
            flags |= before.flags
            detail = before.detail
        sequence, count, made = sequence_number(), len(ins), len(outs)
        self.last_op = op = recorder.next_op()
        # No call from here to the last `+=`: so no other thread comes between (see `locks`).
        rows = self.rows
        parts = rows.parts
        rows.fixed += (op, plan[1], stack, scope, flags, sequence, detail, count, made)
        parts["in*"] += ins
        parts["out*"] += outs
        parts["spec*"] += specs
        parts["oflags*"] += oflags
        if recorder.left.met:
            recorder.left.link(op, outs)
        if before:
            recorder.after(self, plan, op, ins, tensors, outs, result, before)
        if kwargs and "out" in kwargs:
            recorder.wrote(op, kwargs["out"])
        if len(rows.fixed) >= FLUSH_AT * 9:
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
                if self.recorder.left.values:
                    self.recorder.left.meet(arg)
            elif kind not in PLAIN:
                self.recorder.collect(self, arg, ins, tensors, frame)
        if kwargs:
            for arg in kwargs.values():
                if type(arg) not in PLAIN:
                    self.recorder.collect(self, arg, ins, tensors, frame)
        return tensors

    def _output(self, result: Any, outs: list[int], specs: list[int], oflags: list[int]) -> int:
        """Note what came out; the flags that it gives the row."""
        kind = type(result)
        if kind is not Tensor and kind is not Parameter:
            return self.recorder.outputs(self, result, outs, specs, oflags)
        entry = self.known.get(id(result))
        if entry is not None and entry[0]() is result:
            outs.append(entry[1])
        else:
            serial = self.next_serial()
            self.known[id(result)] = (reference(result), serial)
            outs.append(serial)
        try:
            spec = self.spec_of((result.shape, result.dtype, result.device))
        except (RuntimeError, TypeError):  # nested tensors, symbolic sizes
            spec = 0
        specs.append(spec if spec is not None else self.recorder.spec_of(result))
        if not result.requires_grad:
            oflags.append(0)
            return 0
        try:
            leaf = result.is_leaf
        except RuntimeError:  # a view made under no_grad, its base changed since
            leaf = False
        oflags.append(OUT_REQUIRES_GRAD | OUT_LEAF if leaf else OUT_REQUIRES_GRAD)
        return OUT_REQUIRES | IN_REQUIRES

    def _untracked(self, tensors: list[Any]) -> int:
        """Flags that only matter where nothing that came out requires grad."""
        flags = INFERENCE if inference_enabled() else 0
        for tensor in tensors:
            kind = type(tensor)
            exact = kind is Tensor or kind is Parameter
            if tensor.requires_grad if exact else self.recorder.requires(tensor):
                return flags | IN_REQUIRES
        return flags

    def raised(
        self,
        plan: tuple[int, int, str],
        args: tuple[Any, ...],
        kwargs: Any,
        error: BaseException,
        frame: FrameType,
    ) -> None:
        """Write the row of a call that raised, and the exception once."""
        op = self.row(plan, args, kwargs, None, frame, None, RAISED)
        self.recorder.op_raised(self, args, kwargs, error, op, frame)
