"""Where no mode looks: the few functions of torch that are stood in for while recording.

Each stand-in calls the original with the very same arguments and is taken away
again when recording ends, so that torch is left exactly as it was found.
"""

from __future__ import annotations

import functools
import sys
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import torch

from gradpm.record import amp, compiling, frames, making, modes, onlookers, stepping, threads
from gradpm.record.backward import standing_in
from gradpm.record.locks import LOCK
from gradpm.record.tracebacks import strip
from gradpm.record.within import within
from gradpm.trace.schema import Op

if TYPE_CHECKING:
    from gradpm.record.recorder import Recorder


def _restore(owner: Any, name: str, original: Any, own: bool) -> None:
    if own:
        setattr(owner, name, original)
    else:
        delattr(owner, name)


def _unhook(handle: Any) -> tuple[Any, int, Any]:
    """Take a hook off; (the hooks that it was among, its number, the hook)."""
    hooks = handle.hooks_dict_ref()
    return hooks, handle.id, hooks.pop(handle.id, None) if hooks is not None else None


class Patches:
    """The stand-ins now in place, and what they stand for."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self._undo: list[tuple[Any, str, Any, bool, Any]] = []
        self._acts: list[Any] = []
        self._lifted = 0
        self._hooks: list[tuple[Any, int, Any]] = []  # of ours, while lifted
        self.handles: list[Any] = []

    def set(self, owner: Any, name: str, value: Any) -> None:
        """Put `value` where `owner.name` was."""
        own = name in vars(owner)
        original = vars(owner).get(name)
        self._undo.append((owner, name, original, own, value))
        setattr(owner, name, value)
        if isinstance(original, BuiltinFunctionType) and isinstance(value, FunctionType):
            value.__module__, value.__qualname__ = owner.__name__, name  # where pickle finds it
        code = getattr(getattr(value, "__func__", value), "__code__", None)
        if code is not None:
            self.recorder.stacks.hide(code)

    def set_by_name(self, owner: Any, name: str, value: Any) -> None:
        """The same for a function that the program may have imported by name before.

        So it may where a program begins a recording itself; `gradpm run` is there first.
        """
        original = vars(owner)[name]
        self.set(owner, name, value)
        if not self.recorder.always_writes:
            return
        for module in list(sys.modules.values()):
            if type(module) is ModuleType and module is not owner:
                for key, held in list(vars(module).items()):
                    if held is original:
                        self.set(module, key, value)

    def at_end(self, act: Any) -> None:
        """Have `act` called when recording ends."""
        self._acts.append(act)

    def lift(self) -> None:
        """Take the stand-ins away for a while, and have torch as it is; see `lay`."""
        with LOCK:
            self._lifted += 1
            if self._lifted == 1:
                for owner, name, original, own, _ in reversed(self._undo):
                    _restore(owner, name, original, own)
                self._hooks = [_unhook(handle) for handle in self.handles]

    def lay(self) -> None:
        """Put them back."""
        with LOCK:
            self._lifted -= 1
            if self._lifted == 0:
                for owner, name, _, _, value in self._undo:
                    setattr(owner, name, value)
                for hooks, which, hook in self._hooks:
                    if hook is not None:
                        hooks[which] = hook
                        hooks.move_to_end(which, last=False)
                self._hooks.clear()

    def install(self) -> None:
        """Put every stand-in in place."""
        frames.install(self)
        onlookers.install(self)
        self._engine()
        self._function()
        making.install(self)
        self._detour()
        stepping.install(self)
        self._checkpoint()
        amp.install(self)
        threads.install(self)
        modes.install(self)
        compiling.install(self)

    def remove(self) -> None:
        """Leave torch as it was found."""
        for handle in self.handles:
            handle.remove()
        for act in reversed(self._acts):
            act()
        if not self._lifted:
            for owner, name, original, own, _ in reversed(self._undo):
                _restore(owner, name, original, own)
        self._acts.clear()
        self.handles.clear()
        self._undo.clear()

    def _engine(self) -> None:
        import torch.autograd.graph

        original = torch.autograd.graph._engine_run_backward
        stand_in = standing_in(self.recorder, original)
        self.set(torch.autograd.graph, "_engine_run_backward", stand_in)
        self.set(torch.autograd, "_engine_run_backward", stand_in)
        self._first_gradients()

    def _first_gradients(self) -> None:
        """A loss that is no scalar is refused before the engine is called."""
        recorder = self.recorder
        original = torch.autograd._make_grads

        @functools.wraps(original)
        def _make_grads(outputs: Any, grads: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return original(outputs, grads, *args, **kwargs)
            except BaseException as error:
                strip(error)
                if recorder.on:
                    given = (list(outputs), list(grads))
                    frame = sys._getframe(1)
                    recorder.guard("engine tap", recorder.raised, "backward", given, error, frame)
                raise

        self.set(torch.autograd, "_make_grads", _make_grads)

    def _detour(self) -> None:
        """On its way to a mode, a torch function in Python takes that mode off and on again."""
        from gradpm.record.hot import mode_off

        quick = mode_off is not None and not self.recorder.options.keep_compile
        if quick and hasattr(torch.overrides, "_pop_mode_temporarily"):
            self.set(torch.overrides, "_pop_mode_temporarily", mode_off)

    def _function(self) -> None:
        recorder = self.recorder
        original = torch.autograd.Function.__dict__["apply"]

        def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
            tap, place = within(recorder, Op.IN_FUNCTION)
            try:
                result = original.__get__(None, cls)(*args, **kwargs)
            except BaseException as error:
                strip(error, recorder.stands)
                tap.place = place
                if recorder.on:
                    recorder.guard(
                        "function tap", recorder.refused, tap, cls, args, kwargs, error,
                        sys._getframe(1),
                    )  # fmt: skip
                raise
            finally:
                tap.place = place
            if recorder.on:
                recorder.guard(
                    "function tap", recorder.applied, tap, cls, args, kwargs, result,
                    sys._getframe(1),
                )  # fmt: skip
            return result

        functools.update_wrapper(apply, original.__func__)
        self.set(torch.autograd.Function, "apply", classmethod(apply))
        self.recorder.stacks.hide(apply.__code__)

    def _checkpoint(self) -> None:
        """Re-entrant checkpointing runs its forward with grad mode off, which is no cut."""
        import torch.utils.checkpoint as module

        recorder = self.recorder
        original = module.checkpoint

        @functools.wraps(original)
        def checkpoint(function: Any, *args: Any, **kwargs: Any) -> Any:
            tap, place = within(recorder, Op.CHECKPOINT)
            try:
                result = original(function, *args, **kwargs)
            except BaseException as error:
                strip(error, recorder.stands)
                raise
            finally:
                tap.place = place
            if recorder.on:
                recorder.guard(
                    "checkpoint tap", recorder.checkpointed, tap, args, kwargs, result,
                    sys._getframe(1),
                )  # fmt: skip
            return result

        # Who has imported it by name hands dynamo the stand-in: this leads it to the original.
        checkpoint._torchdynamo_inline = original  # type: ignore[attr-defined]
        self.set_by_name(module, "checkpoint", checkpoint)
