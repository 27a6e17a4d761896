"""Code that asks whether a function mode is on, or that must not meet one.

torch's transformer layers leave their fast path while any mode is on, and would
compute other last bits; a tracer or a compiler would trace the tap itself.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import weakref
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch

from gradpm.record.tap import OpTap
from gradpm.record.tracebacks import strip

if TYPE_CHECKING:
    from gradpm.record.patches import Patches
    from gradpm.record.recorder import Recorder


def install(patches: Patches) -> None:
    """Put the stand-ins in place."""
    recorder = patches.recorder
    _asked(patches, recorder)
    _listed(patches, recorder)
    import torch.jit._trace as tracing

    for owner in (torch.jit, tracing):
        for name in ("_trace_impl", "trace_module", "_get_trace_graph"):
            if hasattr(owner, name):
                patches.set(owner, name, _without(recorder, getattr(owner, name)))
    patches.set(torch.utils, "swap_tensors", _swap(recorder))


@contextlib.contextmanager
def suspended(recorder: Recorder) -> Iterator[None]:
    """This thread's tap does not act inside."""
    place = recorder.guard("mode tap", _step_aside, recorder)
    try:
        yield
    finally:
        if place is not None:
            recorder.guard("mode tap", _step_back, recorder, place)


def _step_aside(recorder: Recorder) -> int | None:
    tap = recorder.tap()
    place = tap.place_in_stack()
    if place is not None:
        tap.leave()
    return place


def _step_back(recorder: Recorder, place: int) -> None:
    recorder.tap().enter_at(place)


def _asked(patches: Patches, recorder: Recorder) -> None:
    """`torch.overrides.has_torch_function`, as called by its full name."""
    original = torch.overrides.has_torch_function

    @functools.wraps(original)
    def has_torch_function(relevant_args: Any) -> Any:
        if not original(relevant_args):
            return False
        with suspended(recorder):
            return original(relevant_args)

    patches.set(torch.overrides, "has_torch_function", has_torch_function)


def _listed(patches: Patches, recorder: Recorder) -> None:
    """What torch.overrides says of the modes that are on, when the program asks and not torch."""
    overrides: Any = torch.overrides
    stack_of, top_of = (
        overrides._get_current_function_mode_stack, overrides._get_current_function_mode,
    )  # fmt: skip

    def shown(asker: FrameType) -> list[Any]:
        modes = stack_of()
        return modes if _is_torchs(asker) else [m for m in modes if type(m) is not OpTap]

    @functools.wraps(stack_of)
    def _get_current_function_mode_stack() -> Any:
        found = recorder.guard("mode tap", shown, sys._getframe(1))
        return [mode for mode in stack_of() if type(mode) is not OpTap] if found is None else found

    @functools.wraps(top_of)
    def _get_current_function_mode() -> Any:
        found = recorder.guard("mode tap", shown, sys._getframe(1))
        return next(reversed(_get_current_function_mode_stack() if found is None else found), None)

    patches.set(overrides, stack_of.__name__, _get_current_function_mode_stack)
    patches.set(overrides, top_of.__name__, _get_current_function_mode)


def _is_torchs(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == "torch"


def _without(recorder: Recorder, original: Any) -> Any:
    """`original`, called with the tap out of the way."""

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            with suspended(recorder):
                return original(*args, **kwargs)
        except BaseException as error:
            strip(error)
            raise

    return call


def _swap(recorder: Recorder) -> Any:
    """torch refuses to swap tensors that anyone holds a weak reference to: let ours go."""
    original = torch.utils.swap_tensors

    @functools.wraps(original)
    def swap_tensors(t1: Any, t2: Any) -> None:
        kept = recorder.guard("swap tap", _let_go, recorder, (t1, t2))
        if kept is None:  # recording has stopped: nothing needs to be held any more
            recorder.identity.known.clear()
            recorder.leaves.known.clear()
        try:
            original(t1, t2)  # type: ignore[no-untyped-call]
        except BaseException as error:
            strip(error)
            raise
        finally:
            if kept:
                recorder.guard("swap tap", _hold_again, recorder, kept)

    return swap_tensors


def _let_go(recorder: Recorder, tensors: Any) -> list[tuple[Any, int]]:
    """Hold no weak reference to these tensors; their serials."""
    kept = []
    for tensor in tensors:
        serial = recorder.identity.find(tensor)
        if serial:
            kept.append((tensor, serial))
            del recorder.identity.known[id(tensor)]
            if serial in recorder.leaves.known:
                recorder.leaves.known[serial].reference = _nothing
    return kept


def _hold_again(recorder: Recorder, kept: list[tuple[Any, int]]) -> None:
    """Hold them again, under the same serials."""
    for tensor, serial in kept:
        reference = weakref.ref(tensor)
        recorder.identity.known[id(tensor)] = (reference, serial, 0)
        if serial in recorder.leaves.known:
            recorder.leaves.known[serial].reference = reference


def _nothing() -> None:
    """What a weak reference to a dead tensor gives."""
