"""torch.compile: run eagerly, so that the graph is real; or, if asked, compiled in peace.

Nothing of dynamo is imported before the program itself calls `torch.compile`. What is
compiled all the same (`--keep-compile`, or a stance of the program's own) runs without
the tap, which dynamo would trace, and becomes one row with the line that called it.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from gradpm.record.faults import say
from gradpm.record.plans import Plan
from gradpm.record.tracebacks import strip

if TYPE_CHECKING:
    from gradpm.record.patches import Patches

TOLD = (
    "gradpm: torch.compile runs eagerly, so that its graph can be read; --keep-compile keeps it\n"
)


def install(patches: Patches) -> None:
    """Stand in for `torch.compile`."""
    Compiling(patches)


class Compiling:
    """What is done when `torch.compile` is first called, and around each compiled call."""

    def __init__(self, patches: Patches) -> None:
        self.patches = patches
        self.recorder = patches.recorder
        self._begun = False
        original = torch.compile

        @functools.wraps(original)
        def compile(*args: Any, **kwargs: Any) -> Any:
            if not self._begun:  # also when recording has stopped: the stand-ins are still there
                self._begun = True
                self.recorder.guard("compile tap", self._begin)
            try:
                return original(*args, **kwargs)
            except BaseException as error:
                strip(error)
                raise

        patches.set(torch, "compile", compile)

    def _begin(self) -> None:
        frames = self._dynamo()
        kind = frames.OptimizeContext
        original = kind.__init__

        @functools.wraps(original)
        def __init__(context: Any, *args: Any, **kwargs: Any) -> None:
            original(context, *args, **kwargs)
            context.enter_exit_hooks.append(self._enter)

        self.patches.set(kind, "__init__", __init__)
        if self.recorder.on and not self.recorder.options.keep_compile:
            stance = torch.compiler.set_stance("force_eager")
            self.patches.at_end(lambda: stance.__exit__(None, None, None))
            _say()

    def _dynamo(self) -> Any:
        """Dynamo, which notes as it is imported what functions torch has: torch's own."""
        self.patches.lift()
        try:
            import torch._dynamo.eval_frame as frames
        finally:
            self.patches.lay()
        return frames

    def _enter(self) -> Callable[[], None]:
        """A call of something compiled begins; what is to be called when it ends."""
        leave: Callable[[], None] | None = self.recorder.guard(
            "compile tap", self._step_aside, sys._getframe(1)
        )
        return leave or _nothing

    def _step_aside(self, frame: Any) -> Callable[[], None] | None:
        frames = sys.modules["torch._dynamo.eval_frame"]
        if frames._stance.stance == "force_eager":
            return None
        tap = self.recorder.tap()
        place = tap.place_in_stack()
        if place is None:
            return None
        while frame is not None and frame.f_code.co_name != "compile_wrapper":
            frame = frame.f_back
        tap.leave()
        self.patches.lift()
        return lambda: self._leave(tap, place, frame)

    def _leave(self, tap: Any, place: int, frame: Any) -> None:
        self.recorder.guard("compile tap", self._step_back, tap, place)
        if self.recorder.on and frame is not None:
            self.recorder.guard("compile tap", self._row, tap, frame)

    def _step_back(self, tap: Any, place: int) -> None:
        self.patches.lay()
        tap.enter_at(place)

    def _row(self, tap: Any, frame: Any) -> None:
        """The call as one op. Its frame ends right now, so reading its locals keeps nothing."""
        held = frame.f_locals
        if "result" not in held:
            return  # it raised
        name = "compiled " + str(getattr(held.get("fn"), "__qualname__", "function"))
        plan = (Plan.OP, self.recorder.strings.id(name), name)
        tap.row(plan, held.get("args", ()), held.get("kwargs"), held["result"], frame.f_back)


def _say() -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
    say(TOLD)


def _nothing() -> None:
    """A call that ran eagerly ends."""
