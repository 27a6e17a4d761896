"""The op tap: one row for each torch function that the script calls.

The plain ones are written down by the hot path, `HotTap`, on the way. What else there is
to be done, with functions of another plan and on lines that are new, is here.
"""

from __future__ import annotations

import sys
from types import FrameType, FunctionType
from typing import Any

import torch

from gradpm.record.faults import is_ours
from gradpm.record.hot import HotTap
from gradpm.record.oprow import FLUSH_AT, OpWriter
from gradpm.record.plans import Decision, Plan, is_lasting, plan_of, way_of
from gradpm.record.tracebacks import strip
from gradpm.record.values import versions_of
from gradpm.trace.schema import Op

Parameter = torch.nn.Parameter
tracer, profiler = sys.gettrace, sys.getprofile
DISPATCH = torch.overrides.handle_torch_function.__code__
MOST_PLANS = 8192
UNKNOWN = (int(Plan.PASS), 0, "", -1)
RAISED = int(Op.RAISED)
PASS, OP, KEEPS, MUTATES, ITERATES, MAY_MUTATE = (
    int(Plan.PASS), int(Plan.OP), int(Plan.KEEPS), int(Plan.MUTATES), int(Plan.ITERATES),
    int(Plan.MAY_MUTATE),
)  # fmt: skip


class OpTap(HotTap, OpWriter):
    """Stands between the script and every torch function that its thread calls."""

    def now_and_then(self) -> None:
        """What one plain row in many looks after: a flush."""
        if len(self.rows) >= FLUSH_AT:
            self.recorder.flush_ops(self)

    def keep(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: Any,
        result: Any,
        frame: Any,
        stack: int,
        scope: int,
        before: Any = None,
    ) -> None:
        """Write down a call that was to be plain and is not."""
        self.row(self.plans[func], args, kwargs, result, frame, before, 0, (stack, scope))

    def refused(
        self, func: Any, args: tuple[Any, ...], kwargs: Any, error: BaseException, frame: Any
    ) -> None:
        """A plain call has raised: have it written down."""
        strip(error, self.stands)
        plan = self.plans[func]
        self.recorder.guard("op tap", self.raised, plan, args, kwargs, error, frame)

    def went_by(
        self, func: Any, args: tuple[Any, ...], kwargs: Any, error: BaseException, frame: Any
    ) -> None:
        """A call that leaves no row has raised: only gradpm's frames are looked for."""
        strip(error, self.stands)

    def otherwise(self, func: Any, args: tuple[Any, ...], kwargs: Any, frame: Any) -> Any:
        """What is to be done with all functions but the plain ones, and on lines that are new."""
        try:
            plan = self.plans.get(func)
        except TypeError:  # it cannot be hashed
            return self.passed(func, args, kwargs)
        if plan is None:
            plan = self.recorder.guard("op tap", self.learn, func) or UNKNOWN
        how = plan[0]
        if how == PASS:
            return self.passed(func, args, kwargs)
        if not self.recorder.on:
            return self.called(func, args, kwargs, frame)
        if plan[3] >= 0 and func not in self.plain and func in self.plans:
            self.plain[func] = plan[1], how == KEEPS, plan[3]
        code = frame.f_code
        if code is DISPATCH:  # torch's Python functions come by a detour of two frames
            frame = frame.f_back.f_back
            code = frame.f_code
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

    def noted(self, plan: Decision, args: tuple[Any, ...], kwargs: Any) -> Any:
        """What must be noted before the call."""
        if plan[0] == MAY_MUTATE:
            return versions_of(args, kwargs)
        with torch._C.DisableTorchFunction():
            return self.recorder.before(self, plan, args, kwargs)

    def learn(self, func: Any) -> Decision:
        """Decide once what to do with a function."""
        how, name = plan_of(func)
        way = way_of(how, name)
        plan = (int(how), self.recorder.strings.id(name), name, -1 if way is None else int(way))
        if len(self.plans) < MOST_PLANS and is_lasting(func):
            self.plans[func] = plan
            if how is Plan.PASS and isinstance(type(func).__hash__, FunctionType):
                self.passing[id(func)] = func
        return plan

    def raised(
        self,
        plan: Decision,
        args: tuple[Any, ...],
        kwargs: Any,
        error: BaseException,
        frame: FrameType,
    ) -> None:
        """Write the row of a call that raised, and the exception once."""
        op = self.row(plan, args, kwargs, None, frame, None, RAISED)
        self.recorder.op_raised(self, args, kwargs, error, op, frame)
