"""Beside every optimizer: where it is made, given a group, zeroes gradients and steps."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

from gradpm.record import aside
from gradpm.record.hooks import register
from gradpm.record.tracebacks import strip

if TYPE_CHECKING:
    from gradpm.record.patches import Patches
    from gradpm.record.recorder import Recorder


def install(patches: Patches) -> None:
    """Stand in for what every optimizer inherits, and hook into every step."""
    _inherited(patches)
    _steps(patches)


def _inherited(patches: Patches) -> None:
    """Stand in for the making of an optimizer, its groups and `zero_grad`."""
    from torch.optim import Optimizer as kind

    recorder = patches.recorder
    original_init, original_zero, original_add = (
        kind.__init__, kind.zero_grad, kind.add_param_group,
    )  # fmt: skip

    @functools.wraps(original_init)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            original_init(self, *args, **kwargs)
        except BaseException as error:
            strip(error, recorder.stands)
            if recorder.on and isinstance(error, ValueError):
                recorder.guard("optimizer tap", recorder.optimizers.refused, args, sys._getframe(1))
            raise
        if recorder.on:
            recorder.guard("optimizer tap", recorder.optimizers.made, self, sys._getframe(1))

    @functools.wraps(original_zero)
    def zero_grad(self: Any, *args: Any, **kwargs: Any) -> Any:
        tap = None
        if recorder.on:
            tap = recorder.lightly("optimizer tap", _zeroing, recorder, self, sys._getframe(1))
        try:
            return original_zero(self, *args, **kwargs)
        except BaseException as error:
            strip(error, recorder.stands)
            raise
        finally:
            if tap is not None:
                recorder.lightly("optimizer tap", aside.come_back, recorder, tap)

    @functools.wraps(original_add)
    def add_param_group(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            result = original_add(self, *args, **kwargs)
        except BaseException as error:
            strip(error, recorder.stands)
            raise
        if recorder.on:
            recorder.guard("optimizer tap", recorder.optimizers.group_added, self, sys._getframe(1))
        return result

    patches.set(kind, "__init__", __init__)
    patches.set(kind, "zero_grad", zero_grad)
    patches.set(kind, "add_param_group", add_param_group)


def _zeroing(recorder: Recorder, optimizer: Any, frame: Any) -> Any:
    """Note that it begins; this thread's tap, which stands aside meanwhile."""
    recorder.optimizers.zeroed(optimizer, frame)
    return aside.stand_aside(recorder)


def _steps(patches: Patches) -> None:
    """Hook into every optimizer's step."""
    from torch.optim import optimizer as module

    recorder = patches.recorder

    def before_step(optimizer: Any, args: Any, kwargs: Any) -> None:
        if recorder.on:
            act = recorder.optimizers.before_step
            recorder.guard("optimizer tap", act, optimizer, (args, kwargs), sys._getframe(1))

    def after_step(optimizer: Any, args: Any, kwargs: Any) -> None:
        if recorder.on:
            act = recorder.optimizers.after_step
            recorder.guard("optimizer tap", act, optimizer, sys._getframe(1))

    if not recorder.options.keep_compile:  # what is compiled must not meet the stand-in
        aside.install(patches)
    patches.handles.append(register(module.register_optimizer_step_pre_hook, before_step))
    patches.handles.append(register(module.register_optimizer_step_post_hook, after_step))
    for hook in (before_step, after_step):
        recorder.stacks.hide(hook.__code__)
