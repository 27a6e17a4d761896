"""What is recorded beside the ops: parameters made, custom Functions, events, facts."""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING, Any

import torch

from gradpm.record.plans import Decision, Plan
from gradpm.record.values import Before, Values
from gradpm.trace.schema import LeafKind, LinkHow, Op

if TYPE_CHECKING:
    from gradpm.record.tap import OpTap

Tensor = torch.Tensor


def _absent() -> None:
    """Stands for a method that a Function does not have."""


class Beside(Values):
    """The part of the recorder that the patches and hooks report to."""

    def parameter(self, made: Any, data: Any, frame: Any) -> None:
        """`nn.Parameter(data)` was called."""
        stack, _ = self.stacks.at(frame)
        serial = self.leaves.add(made, stack, LeafKind.PARAMETER)
        if isinstance(data, Tensor):
            tap = self.tap()
            plan = (Plan.OP, self.strings.id("Parameter"), "Parameter")
            op = tap.row(plan, (data,), None, made, frame)
            source = self.identity.find(data)
            self.left.rows.add(op, source, serial, LinkHow.WRAP)

    def raised(self, name: str, args: Any, error: BaseException, frame: Any) -> None:
        """A function of this name, which no mode sees, has raised."""
        plan = (Plan.OP, self.strings.id(name), name)
        self.tap().raised(plan, args, None, error, frame)

    def variable(self, made: Any, args: Any, frame: Any) -> None:
        """`Variable(data)` was called."""
        plan = (Plan.OP, self.strings.id("Variable"), "Variable")
        self.tap().row(plan, args[:1], None, made, frame)

    def function_plan(self, cls: Any) -> Decision:
        """The plan of a custom Function's apply; its row carries the class's name."""
        return (Plan.OP, self.strings.id(cls.__name__ + ".apply"), cls.__name__)

    def applied(
        self, tap: OpTap, cls: Any, args: Any, kwargs: Any, result: Any, frame: Any
    ) -> None:
        """A custom Function's apply has returned."""
        detail = self._definition(cls)
        detail["at"] = [at for at, given in enumerate(args) if isinstance(given, Tensor)]
        before = Before(int(Op.FUNCTION), self.strings.json(detail))
        plan = self.function_plan(cls)
        op = tap.row(plan, args, kwargs, result, frame, before)
        made = result if isinstance(result, (list, tuple)) else (result,)
        for tensor in made:
            if isinstance(tensor, Tensor) and any(tensor is given for given in args):
                self.wrote(op, tensor)  # mark_dirty
        self.singular.applied(tap, op, result)

    def refused(
        self, tap: OpTap, cls: Any, args: Any, kwargs: Any, error: BaseException, frame: Any
    ) -> None:
        """A custom Function's apply has raised."""
        before = Before(int(Op.FUNCTION), self.strings.json(self._definition(cls)))
        plan = self.function_plan(cls)
        op = tap.row(plan, args, kwargs, None, frame, before, int(Op.RAISED))
        self.op_raised(tap, args, kwargs, error, op, frame)

    def written(self, function: Any) -> list[Any]:
        """Where a Python function is written: [file, first line, name]; empty if nowhere."""
        function = getattr(function, "__func__", getattr(function, "func", function))
        code = getattr(function, "__code__", None) or getattr(
            getattr(type(function), "__call__", None),
            "__code__",
            None,
        )
        if code is None:
            return []
        self.sources.id(code.co_filename)
        name = getattr(code, "co_qualname", code.co_name)
        return [os.path.abspath(code.co_filename), code.co_firstlineno, name]

    def _definition(self, cls: Any) -> dict[str, Any]:
        """Where a Function's forward and backward are written."""
        found: dict[str, Any] = {"class": cls.__qualname__}
        for name in ("forward", "backward", "vjp", "setup_context"):
            function = inspect.unwrap(getattr(cls, name, _absent))  # @once_differentiable
            if function is not _absent and getattr(function, "__code__", None) is not None:
                found[name] = self.written(function)
        return found

    def checkpointed(self, tap: OpTap, args: Any, kwargs: Any, result: Any, frame: Any) -> None:
        """`torch.utils.checkpoint.checkpoint` has returned."""
        reentrant = kwargs.get("use_reentrant")
        before = Before(int(Op.FUNCTION), self.strings.json({"reentrant": bool(reentrant)}))
        plan = (Plan.OP, self.strings.id("checkpoint"), "checkpoint")
        tap.row(plan, args, None, result, frame, before)

    def event(self, kind: str, frame: Any, which: int, detail: Any = None) -> None:
        """Something happened beside the ops; `detail` is a value, or the id of its JSON."""
        stack, _ = self.stacks.at(frame)
        said = detail if type(detail) is int else self.strings.json(detail)
        self.events.add(
            self.strings.id(kind), stack, self.ops_so_far(), self.engine.count, which,
            said,
        )  # fmt: skip

    def note(self, key: str, value: Any) -> None:
        """A fact about the run as a whole."""
        import json

        text = self.strings.id
        self.meta.add(text(key), text(json.dumps(value, default=str)))
