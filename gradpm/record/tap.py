"""The op tap: one row for each torch function that the script calls.

This is the hot path. It runs for every op of the user's program, so it is written
out in full rather than divided, reads no attribute twice, and asks a tensor only
what cannot be found out later from the trace. All that is not plain goes another way.
"""

from __future__ import annotations

import sys
from types import FrameType, FunctionType
from typing import Any
from weakref import ref as reference

import torch

from gradpm.record.faults import is_ours
from gradpm.record.oprow import (
    FLUSH_AT,
    GRAD_ENABLED,
    IN_REQUIRES,
    LOOKED_AT,
    NUMBERS,
    OUT_LEAF,
    OUT_REQUIRES,
    OUT_REQUIRES_GRAD,
    OpWriter,
    grad_enabled,
    sequence_number,
)
from gradpm.record.plans import Plan, is_lasting, plan_of
from gradpm.record.tracebacks import strip
from gradpm.record.values import versions_of
from gradpm.trace.schema import Op

Tensor = torch.Tensor
Parameter = torch.nn.Parameter
getframe, tracer, profiler = sys._getframe, sys.gettrace, sys.getprofile
DISPATCH = torch.overrides.handle_torch_function.__code__
MOST_PLANS = 8192
UNKNOWN = (int(Plan.PASS), 0, "")
NONE_YET: tuple[int, ...] = ()
TRACKED, TRACKED_LEAF = OUT_REQUIRES | IN_REQUIRES, OUT_REQUIRES_GRAD | OUT_LEAF
STRANGER = 0  # no tensor has this serial
RAISED = int(Op.RAISED)
PASS, OP, KEEPS, MUTATES, ITERATES, MAY_MUTATE = (
    int(Plan.PASS), int(Plan.OP), int(Plan.KEEPS), int(Plan.MUTATES), int(Plan.ITERATES),
    int(Plan.MAY_MUTATE),
)  # fmt: skip


class OpTap(OpWriter):
    """Stands between the script and every torch function that its thread calls."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        frame: Any = getframe(1)
        plain: Any = self.plain.get(func)
        stand = None
        if plain is not None and not kwargs and not self.closures:
            try:  # a line seen before: nothing to walk
                token = frame.f_trace
                stack, stand = token.lines.sites[frame.f_lasti]
                scope = token.scope
            except (AttributeError, KeyError, TypeError):
                stack, scope, stand = self.recorder.place(frame)
        if stand is None or tracer() is not None or profiler() is not None:
            try:
                return self.otherwise(func, args, kwargs, frame)
            except BaseException as error:
                strip(error, self.stands)
                raise
        try:
            result = FunctionType(stand, frame.f_globals)(func, args, None)
        except BaseException as error:
            strip(error, self.stands)
            self.recorder.guard("op tap", self.raised, self.plans[func], args, None, error, frame)
            raise
        known, left, like, ins = self.known, self.left, -1, NONE_YET
        try:
            for arg in args:
                kind = type(arg)
                if kind is Tensor or kind is Parameter:
                    alive, serial, spec = known[id(arg)]
                    ins += (serial if alive() is arg else STRANGER,)
                    like = spec if like < 0 or like == spec else 0
                elif kind is float and left.values:
                    left.meet(arg)
                elif kind not in NUMBERS:
                    ins += (STRANGER,)
            if STRANGER in ins or type(result) is not Tensor:
                raise LookupError
            if not plain[1] or like not in self.floating:
                like = self.specs[result.shape, result.dtype, result.device]
            tracked = result.requires_grad
            flags = self.place | (TRACKED if tracked else self.untracked(args))
            oflags = (TRACKED_LEAF if result.is_leaf else OUT_REQUIRES_GRAD) if tracked else 0
        except Exception:  # not so plain, not seen before, or a fault: `row` will meet it again
            like = -1
        if like < 0:
            self.recorder.guard("op tap", self.keep, func, args, result, frame, stack, scope)
            return result
        entry = known.get(id(result))
        if entry is None or entry[0]() is not result:
            entry = known[id(result)] = (reference(result), self.next_serial(), like)
        flags |= GRAD_ENABLED if grad_enabled() else 0
        sequence, count, rows = sequence_number(), len(ins), self.rows
        self.last_op = op = self.next_op()
        # No call from here to the last `+=`: so no other thread comes between (see `locks`).
        rows.fixed += (op, plain[0], stack, scope, flags, sequence, 0, count, 1)
        rows.ins += ins
        rows.outs += (entry[1], like, oflags)
        if left.met or not op & LOOKED_AT:
            self.recorder.guard("op tap", self.now_and_then, op, entry[1])
        return result

    def now_and_then(self, op: int, out: int) -> None:
        """What most plain rows do not need: a link to where a number came from, a flush."""
        if self.left.met:
            self.left.link(op, [out])
        if len(self.rows.fixed) >= FLUSH_AT * 9:
            self.recorder.flush_ops(self)

    def keep(
        self, func: Any, args: tuple[Any, ...], result: Any, frame: Any, stack: int, scope: int
    ) -> None:
        """Write down a call that was to be plain and is not."""
        self.row(self.plans[func], args, None, result, frame, None, 0, (stack, scope))

    def otherwise(self, func: Any, args: tuple[Any, ...], kwargs: Any, frame: Any) -> Any:
        """What is to be done with all functions but the plain ones, and on lines that are new."""
        plan = self.plans.get(func)
        if plan is None:
            plan = self.recorder.guard("op tap", self.learn, func) or UNKNOWN
        how = plan[0]
        if how == PASS:
            return self.passed(func, args, kwargs)
        if not self.recorder.on:
            return self.called(func, args, kwargs, frame)
        code = frame.f_code
        if code is DISPATCH:  # torch's Python functions come by a detour of two frames
            frame = frame.f_back.f_back
            code = frame.f_code
        elif how in (OP, KEEPS) and func in self.plans:
            self.plain[func] = plan[1], how == KEEPS
        if id(code) in self.optim and (how != MUTATES or type(args[0]) is not Parameter):
            return self.passed(func, args, kwargs)
        token = frame.f_trace
        try:
            stack, stand = token.lines.sites[frame.f_lasti]
            scope = token.scope
        except (AttributeError, KeyError, TypeError):
            stack, scope, stand = self.recorder.place(frame)
        stand = stand or self.stands.of(frame)
        before: Any = None
        if how not in (OP, KEEPS):
            try:
                before = self.noted(plan, args, kwargs)
            except Exception as fault:
                if not is_ours(fault):
                    raise
                self.recorder.fault("op tap", fault)
        try:
            if tracer() is None and profiler() is None:
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

    def noted(self, plan: tuple[int, int, str], args: tuple[Any, ...], kwargs: Any) -> Any:
        """What must be noted before the call."""
        if plan[0] == MAY_MUTATE:
            return versions_of(args, kwargs)
        with torch._C.DisableTorchFunction():
            return self.recorder.before(self, plan, args, kwargs)

    def learn(self, func: Any) -> tuple[int, int, str]:
        """Decide once what to do with a function."""
        how, name = plan_of(func)
        plan = (int(how), self.recorder.strings.id(name), name)
        if len(self.plans) < MOST_PLANS and is_lasting(func):
            self.plans[func] = plan
        return plan

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
