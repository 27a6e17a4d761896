"""What an engine call is asked for: its roots, its arguments, its loss."""

from __future__ import annotations

from typing import Any

import torch

from gradpm.record.late import is_capturing, is_host
from gradpm.trace.schema import Call

Tensor = torch.Tensor
# As plain numbers: two enums or-ed take 2 us, and every engine call has several.
GRAD_CALL, CREATE = int(Call.GRAD_CALL), int(Call.CREATE)
RETAIN, INPUTS, NO_GRAPH = int(Call.RETAIN), int(Call.INPUTS), int(Call.NO_GRAPH)


def roots_of(t_outputs: Any) -> list[Any]:
    """What the engine is to begin from."""
    return list(t_outputs) if isinstance(t_outputs, (tuple, list)) else [t_outputs]


def is_tracing(roots: list[Any]) -> bool:
    """Whether torch.compile is calling the engine on stand-ins: no backward of the user's."""
    if len(roots) == 1 and type(roots[0]) is Tensor:
        return False
    return any(type(root).__name__ in ("FunctionalTensor", "FakeTensor") for root in roots)


def asked_of(args: Any, kwargs: Any, roots: list[Any]) -> tuple[int, Any]:
    """(flags, the inputs) of a call with these arguments beside its roots."""
    keep, create, inputs = [*args[1:], None, None, None][:3]
    flags = 0 if kwargs.get("accumulate_grad") else GRAD_CALL
    if keep or kwargs.get("keep_graph"):
        flags |= RETAIN
    if create or kwargs.get("create_graph"):
        flags |= CREATE
    inputs = inputs or kwargs.get("inputs")
    if inputs:
        flags |= INPUTS
    for root in roots:
        if root.requires_grad if isinstance(root, Tensor) else True:
            break
    else:
        flags |= NO_GRAPH
    return flags, inputs if isinstance(inputs, (tuple, list)) else (inputs,) if inputs else ()


def loss_of(roots: list[Any], *, wait: bool) -> tuple[float, bool]:
    """(the root's value, True) when it is one real number, else (0, False).

    Only if told to `wait` is it asked of a device, which it makes the program wait for.
    """
    if len(roots) != 1:
        return 0.0, False
    root = roots[0]
    if type(root) is not Tensor or root.numel() != 1 or not root.is_floating_point():
        return 0.0, False
    if root.layout is not torch.strided or root.is_meta or not (wait or is_host(root)):
        return 0.0, False
    return root.item(), True  # not float(root), of which torch warns


def is_blind(roots: list[Any]) -> bool:
    """Whether nothing may be read meanwhile: a device is capturing what it is given."""
    return any(isinstance(root, Tensor) and is_capturing(root) for root in roots)
