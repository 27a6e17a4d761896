"""Looking at a tensor without leaving a mark on the user's program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import _disable_current_modes


@contextmanager
def quiet() -> Iterator[None]:
    """No graph, no user's modes, no subclass code, no autocast while inside."""
    modes = torch._C._len_torch_dispatch_stack() > 0
    with torch._C.DisableTorchFunction(), torch.no_grad():
        if modes:
            with _disable_current_modes():
                yield
        else:
            yield


@contextmanager
def hidden() -> Iterator[None]:
    """What is asked of tensors inside, no mode and no subclass of the user's gets to see."""
    with torch._C.DisableTorchFunction():
        if torch._C._len_torch_dispatch_stack():
            with _disable_current_modes():
                yield
        else:
            yield


def is_transformed() -> bool:
    """Whether values cannot be read without a trace: torch.func or torch.jit.trace is at work."""
    return (
        torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._get_tracing_state() is not None
    )
