"""Looking at a tensor without leaving a mark on the user's program, or in its profile."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch._C._autograd import _enable_record_function, _profiler_enabled
from torch.utils._python_dispatch import _disable_current_modes

from gradpm.record.held import home_of

EXACT = (torch.Tensor, torch.nn.Parameter)
MEASURED = frozenset(
    (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128)
)
"""What is measured: torch counts nothing in float8, and warns of what it lacks in complex half."""

_is_included = torch._C._dispatch_tls_is_dispatch_key_included
_BATCHED = torch._C._dispatch_key_parse("VmapMode")


@contextmanager
def quiet() -> Iterator[None]:
    """No graph, no user's modes, no subclass code, no autocast while inside."""
    with hidden(), torch.no_grad():
        yield


@contextmanager
def hidden() -> Iterator[None]:
    """What is asked of tensors inside, no mode, subclass or profiler of the user's gets to see."""
    with torch._C.DisableTorchFunction():
        profiled = _profiler_enabled()
        if not profiled and not torch._C._len_torch_dispatch_stack():
            yield
            return
        with contextlib.ExitStack() as stack:
            if profiled:
                stack.enter_context(_unprofiled())
            if torch._C._len_torch_dispatch_stack():
                stack.enter_context(_disable_current_modes())
            yield


def is_seen() -> bool:
    """Whether a mode or profiler of the user's would see an op, torch functions being off."""
    return _profiler_enabled() or torch._C._len_torch_dispatch_stack() > 0


_unprofiled_depth = threading.local()


@contextmanager
def _unprofiled() -> Iterator[None]:
    """The profiler writes down nothing of what this thread does inside; may be nested."""
    depth = getattr(_unprofiled_depth, "value", 0)
    _unprofiled_depth.value = depth + 1
    if not depth:
        _enable_record_function(False)
    try:
        yield
    finally:
        _unprofiled_depth.value = depth
        if not depth:
            _enable_record_function(True)


def is_unwatched() -> bool:
    """Whether nobody of the user's would see an op: no graph, no mode, no profiler."""
    return not (
        torch.is_grad_enabled() or torch._C._len_torch_dispatch_stack() or _profiler_enabled()
    )


def answers_itself(tensor: Any) -> bool:
    """Whether to ask a tensor's shape, layout or device may run code of the user's.

    So it may for a class with a dispatch of its own; what it prints or counts, they would see.
    """
    kind = type(tensor)
    if kind is torch.Tensor or kind is torch.nn.Parameter:
        return False
    own = getattr(getattr(kind, "__torch_dispatch__", None), "__func__", None) is not None
    return own and home_of(kind) != "torch"


def is_transformed() -> bool:
    """Whether values cannot be read without a trace: torch.func or torch.jit.trace is at work."""
    return (
        torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._get_tracing_state() is not None
        or _is_included(_BATCHED)  # autograd.grad(is_grads_batched=True)
    )


def is_leaf(tensor: Any) -> bool:
    """Whether a tensor is a leaf; False for a view so broken that torch will not say."""
    try:
        return bool(tensor.is_leaf)
    except RuntimeError:  # made under no_grad, and its base changed in place since
        return False


def version_of(tensor: Any) -> int:
    """The version counter; -1 for None and for inference tensors, which have none."""
    if tensor is None:
        return -1
    try:
        if type(tensor) in EXACT:
            return int(tensor._version)
        with torch._C.DisableTorchFunction():  # a subclass's own code would be asked
            return int(tensor._version)
    except RuntimeError:
        return -1
