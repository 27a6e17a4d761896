"""Beside the optimizers: gradient scalers that may skip a step, schedules that set lr."""

from __future__ import annotations

import functools
import sys
import weakref
from typing import TYPE_CHECKING, Any

from gradpm.record.quiet import quiet
from gradpm.record.tracebacks import strip

if TYPE_CHECKING:
    from gradpm.record.patches import Patches


class Scalers:
    """Numbers for gradient scalers, from 1."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, int]] = {}
        self._count = 0

    def id(self, scaler: Any) -> int:
        """The number of a scaler."""
        known = self._known.get(id(scaler))
        if known is not None and known[0]() is scaler:
            return known[1]
        self._count += 1
        self._known[id(scaler)] = (weakref.ref(scaler), self._count)
        return self._count


def install(patches: Patches) -> None:
    """Stand in for `GradScaler.step` and the schedules' constructor."""
    _scaler(patches)
    _schedule(patches)


def _scaler(patches: Patches) -> None:
    from torch.amp.grad_scaler import GradScaler

    recorder, scalers = patches.recorder, Scalers()
    original = GradScaler.step

    def told(scaler: Any, optimizer: Any, steps: int, frame: Any) -> None:
        detail = {"scaler": scalers.id(scaler), "skipped": recorder.steps == steps}
        if detail["skipped"]:  # it has just asked the device for `found_inf`: no wait more
            with quiet():
                detail["scale"] = scaler.get_scale()
        recorder.event("scaler.step", frame, recorder.optimizers.made(optimizer, frame), detail)

    @functools.wraps(original)
    def step(self: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        steps = recorder.steps
        try:
            result = original(self, optimizer, *args, **kwargs)
        except BaseException as error:
            strip(error, recorder.stands)
            raise
        if recorder.on and self._enabled:
            recorder.guard("scaler tap", told, self, optimizer, steps, sys._getframe(1))
        return result

    patches.set(GradScaler, "step", step)
    recorder.stacks.hide(told.__code__)


def _schedule(patches: Patches) -> None:
    from torch.optim.lr_scheduler import LRScheduler

    recorder = patches.recorder
    original = LRScheduler.__init__

    def told(optimizer: Any, schedule: Any, frame: Any) -> None:
        which = recorder.optimizers.id(optimizer)
        recorder.event("schedule.new", frame, which, {"type": type(schedule).__name__})

    @functools.wraps(original)
    def __init__(self: Any, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        if recorder.on:
            recorder.guard("schedule tap", told, optimizer, self, sys._getframe(1))
        try:
            original(self, optimizer, *args, **kwargs)
        except BaseException as error:
            strip(error, recorder.stands)
            raise

    patches.set(LRScheduler, "__init__", __init__)
    recorder.stacks.hide(told.__code__)
