"""What torch's own optimizers do in `step` and `zero_grad` runs without the tap.

Every gradient that they read would cost 2 us to pass by, six of them for each parameter
and step, and nothing of it becomes a row that a diagnosis reads: what a step has done is
told by its events. Not so where the user's code may run inside: a step with a closure,
a step of their own, a differentiable one.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from gradpm.record.locks import LOCK
from gradpm.record.mode import depth_of, mode_at, pop, push
from gradpm.record.tracebacks import strip

if TYPE_CHECKING:
    from gradpm.record.patches import Patches
    from gradpm.record.recorder import Recorder
    from gradpm.record.tap import OpTap


def stand_aside(recorder: Recorder) -> OpTap | None:
    """Take this thread's tap off, if no other mode is above it; it, for `come_back`."""
    tap: OpTap = recorder.tap()
    depth = depth_of()
    top: object = mode_at(depth - 1) if depth else None
    if top is not tap:
        return None
    pop()
    return tap


def come_back(recorder: Recorder, tap: OpTap) -> None:
    """Put it on again. What ran meanwhile takes one op id, so that before and after differ."""
    push(tap)
    with LOCK:
        recorder.asides += 1
    tap.last_op = recorder.next_op()


def install(patches: Patches) -> None:
    """Stand in for where torch wraps the `step` of a class that is used for the first time."""
    from torch.optim.optimizer import Optimizer

    recorder = patches.recorder
    original = Optimizer.profile_hook_step
    made: dict[Any, Any] = {}  # what torch made of a stand-in -> the step it stands for

    @functools.wraps(original)
    def profile_hook_step(func: Any) -> Any:
        if not str(getattr(func, "__module__", "")).startswith("torch.optim."):
            return original(func)
        ours = recorder.guard("optimizer tap", _step, recorder, func) if recorder.on else None
        if ours is None:
            return original(func)
        wrapped = original(ours)
        made[wrapped] = func
        return wrapped

    patches.set(Optimizer, "profile_hook_step", staticmethod(profile_hook_step))
    patches.at_end(lambda: _undo(Optimizer, original, made))


def _step(recorder: Recorder, func: Any) -> Any:
    def step(*args: Any, **kwargs: Any) -> Any:
        tap = None
        plain = recorder.on and not kwargs and len(args) == 1
        if plain and not args[0].defaults.get("differentiable"):
            tap = recorder.lightly("optimizer tap", stand_aside, recorder)
        try:
            return func(*args, **kwargs)
        except BaseException as error:
            strip(error)
            raise
        finally:
            if tap is not None:
                recorder.lightly("optimizer tap", come_back, recorder, tap)

    recorder.stacks.hide(step.__code__)
    return functools.update_wrapper(step, func)


def _undo(kind: Any, original: Any, made: dict[Any, Any]) -> None:
    """Give every class the step that it would have without gradpm."""
    kinds = [kind]
    for one in kinds:
        kinds += one.__subclasses__()
        func = made.get(vars(one).get("step"))
        if func is not None:
            one.step = original(func)
            one.step.hooked = True
