"""Where tensors are made out of a mode's sight: parameters, Variables, arrays that come back."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

import torch

from gradpm.record.plans import Plan
from gradpm.record.tracebacks import strip

if TYPE_CHECKING:
    from gradpm.record.patches import Patches
    from gradpm.record.recorder import Recorder


def install(patches: Patches) -> None:
    """Stand in for what makes them."""
    _parameter(patches)
    _from_numpy(patches)
    _variable(patches)


class Builtin:
    """A stand-in for a builtin that is pickled, copied and shown as the builtin itself."""

    def __init__(self, original: Any) -> None:
        self.__wrapped__ = original
        for name in ("__name__", "__qualname__", "__module__", "__doc__"):
            setattr(self, name, getattr(original, name))

    def __reduce__(self) -> Any:
        return self.__wrapped__.__reduce__()

    def __deepcopy__(self, _memo: Any) -> Any:
        return self

    def __repr__(self) -> str:
        return repr(self.__wrapped__)


def _parameter(patches: Patches) -> None:
    recorder, stand = patches.recorder, patches.recorder.stands.call
    original = torch.nn.Parameter.__new__

    def __new__(cls: Any, data: Any = None, requires_grad: bool = True) -> Any:
        try:
            made = stand(sys._getframe(1), original, (cls, data, requires_grad), None)
        except BaseException as error:
            strip(error, recorder.stands)
            if recorder.on:
                frame = sys._getframe(1)
                recorder.guard("parameter tap", recorder.raised, "Parameter", (data,), error, frame)
            raise
        if recorder.on:
            recorder.guard("parameter tap", recorder.parameter, made, data, sys._getframe(1))
        return made

    functools.update_wrapper(__new__, original)
    patches.set(torch.nn.Parameter, "__new__", staticmethod(__new__))
    recorder.stacks.hide(__new__.__code__)


def _from_numpy(patches: Patches) -> None:
    recorder, stand = patches.recorder, patches.recorder.stands.call
    original = torch.from_numpy

    class FromNumpy(Builtin):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            try:
                made = stand(sys._getframe(1), original, args, kwargs)
            except BaseException as error:
                strip(error, recorder.stands)
                raise
            if recorder.on:
                frame = sys._getframe(1)
                recorder.guard("from_numpy tap", _came_back, recorder, args[0], made, frame)
            return made

    recorder.stacks.hide(FromNumpy.__call__.__code__)
    patches.set_by_name(torch, "from_numpy", FromNumpy(original))


def _came_back(recorder: Recorder, array: Any, made: Any, frame: Any) -> None:
    recorder.left.meet_data(array)
    name = "from_numpy"
    plan = (Plan.OP, recorder.strings.id(name), name)
    recorder.tap().row(plan, (), None, made, frame)


def _variable(patches: Patches) -> None:
    """`Variable(t, requires_grad=True)` makes a new leaf out of anyone's sight."""
    from torch.autograd.variable import VariableMeta

    recorder, stand = patches.recorder, patches.recorder.stands.call

    def __call__(cls: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            made = stand(sys._getframe(1), type.__call__, (cls, *args), kwargs)
        except BaseException as error:
            strip(error, recorder.stands)
            raise
        if recorder.on and args and isinstance(made, torch.Tensor):
            recorder.guard("variable tap", recorder.variable, made, args, sys._getframe(1))
        return made

    patches.set(VariableMeta, "__call__", __call__)
