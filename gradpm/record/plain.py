"""The op tap's hot path in Python: one row for each plain op that the script calls.

It runs for every op of the user's program, so it is written out in full rather than
divided, reads no attribute twice, and asks a tensor only what cannot be found out later
from the trace. All that is not plain goes another way, through the methods of `OpTap`.
Used where its compiled twin, `_hot.c`, could not be built.
"""

from __future__ import annotations

import sys
from types import FunctionType
from typing import Any
from weakref import ref as reference

import torch

from gradpm.record.oprow import (
    GRAD_ENABLED,
    LOOKED_AT,
    OUT_REQUIRES_GRAD,
    PLAIN,
    TRACKED,
    TRACKED_LEAF,
    grad_enabled,
    sequence_number,
)
from gradpm.record.plans import Decision
from gradpm.record.tracebacks import strip

Tensor = torch.Tensor
Parameter = torch.nn.Parameter
getframe, tracer, profiler = sys._getframe, sys.gettrace, sys.getprofile
NONE_YET: tuple[int, ...] = ()
STRANGER = 0  # no tensor has this serial


class HotTap:
    """Stands between the script and every torch function that its thread calls."""

    # What the compiled twin keeps as fields of its own.
    recorder: Any
    plain: dict[Any, tuple[int, bool, int]]
    plans: dict[Any, Decision]
    passing: dict[int, Any]
    known: dict[int, tuple[Any, int, int]]
    specs: dict[Any, int]
    floating: set[int]
    rows: Any
    closures: list[Any]
    values: dict[float, int]
    own_codes: set[int]
    lines: dict[tuple[int, int], Any]
    scopes: Any
    module_ids: dict[int, tuple[Any, int]]
    call_impl: Any
    next_op: Any
    next_serial: Any
    place: int
    last_op: int

    # What `OpTap` has for it.
    stands: Any
    otherwise: Any
    refused: Any
    keep: Any
    untracked: Any
    now_and_then: Any

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        frame: Any = getframe(1)
        plain: Any = self.plain.get(func)
        stand = None
        if plain is not None and not (plain[2] or kwargs or self.closures):
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
            self.refused(func, args, None, error, frame)
            raise
        known, like, ins = self.known, -1, NONE_YET
        try:
            for arg in args:
                kind = type(arg)
                if kind is Tensor or kind is Parameter:
                    alive, serial, spec = known[id(arg)]
                    ins += (serial if alive() is arg else STRANGER,)
                    like = spec if like < 0 or like == spec else 0
                elif kind not in PLAIN and (kind is not float or arg in self.values):
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
            self.recorder.guard("op tap", self.keep, func, args, None, result, frame, stack, scope)
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
        if not op & LOOKED_AT:
            self.recorder.guard("op tap", self.now_and_then)
        return result
