"""The op tap: one row for each torch function that the script calls.

This is the hot path. It runs for every op of the user's program, so it is written
out in full rather than divided, reads no attribute twice, and asks a tensor only
what cannot be found out later from the trace.
"""

from __future__ import annotations

import sys
from types import FrameType, FunctionType
from typing import Any

import torch

from gradpm.record.faults import is_ours
from gradpm.record.oprow import OpRows
from gradpm.record.plans import Plan, is_lasting, plan_of
from gradpm.record.tracebacks import strip
from gradpm.record.values import versions_of
from gradpm.trace.schema import Op

Tensor = torch.Tensor
Parameter = torch.nn.Parameter
getframe, gettrace, getprofile = sys._getframe, sys.gettrace, sys.getprofile
DISPATCH = torch.overrides.handle_torch_function.__code__
MOST_PLANS = 8192
UNKNOWN = (int(Plan.PASS), 0, "")
RAISED = int(Op.RAISED)
PASS, OP, MUTATES, ITERATES, MAY_MUTATE = (
    int(Plan.PASS), int(Plan.OP), int(Plan.MUTATES), int(Plan.ITERATES), int(Plan.MAY_MUTATE),
)  # fmt: skip


class OpTap(OpRows):
    """Stands between the script and every torch function that its thread calls."""

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
        before: Any = None
        if how != OP:
            try:
                before = self.noted(plan, args, kwargs)
            except Exception as fault:
                if not is_ours(fault):
                    raise
                self.recorder.fault("op tap", fault)
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
            plain = not before and not kwargs and type(result) is Tensor and not self.closures
            if not plain or not self.quick(plan[1], args, result, stack, scope):
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
