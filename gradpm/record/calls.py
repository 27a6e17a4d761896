"""What an engine call is asked for: its roots, its arguments, its loss."""

from __future__ import annotations

from typing import Any

import torch

from gradpm.record.late import is_capturing, is_host
from gradpm.record.quiet import is_transformed
from gradpm.trace.schema import Call

# As plain numbers: two enums or-ed take 2 us, and every engine call has several.
GRAD_CALL, CREATE = int(Call.GRAD_CALL), int(Call.CREATE)
RETAIN, INPUTS, NO_GRAPH = int(Call.RETAIN), int(Call.INPUTS), int(Call.NO_GRAPH)


def roots_of(t_outputs: Any) -> list[Any]:
    """What the engine is to begin from."""
    return list(t_outputs) if isinstance(t_outputs, (tuple, list)) else [t_outputs]


def is_tracing(t_outputs: Any) -> bool:
    """Whether torch.compile is calling the engine on stand-ins: no backward of the user's."""
    outputs = t_outputs if isinstance(t_outputs, (tuple, list)) else (t_outputs,)
    if len(outputs) == 1 and type(outputs[0]) is torch.Tensor:
        return False
    return any(type(output).__name__ in ("FunctionalTensor", "FakeTensor") for output in outputs)


def arguments_of(args: Any, kwargs: Any) -> dict[str, Any]:
    """The call's arguments by the names that torch gives them."""
    names = ("grad_tensors", "keep_graph", "create_graph", "inputs")
    found: dict[str, Any] = {**dict(zip(names, args, strict=False)), **kwargs}
    inputs = found.get("inputs") or ()
    found["inputs"] = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
    return found


def flags_of(call: dict[str, Any], roots: list[Any]) -> int:
    """What the arguments alone say of a call."""
    flags = 0
    if not call.get("accumulate_grad", False):
        flags |= GRAD_CALL
    if call.get("keep_graph"):
        flags |= RETAIN
    if call.get("create_graph"):
        flags |= CREATE
    if call["inputs"]:
        flags |= INPUTS
    if all(isinstance(root, torch.Tensor) and not root.requires_grad for root in roots):
        flags |= NO_GRAPH
    return flags


def loss_of(roots: list[Any], *, wait: bool) -> tuple[float, bool]:
    """(the root's value, True) when it is one real number, else (0, False).

    Only if told to `wait` is it asked of a device, which it makes the program wait for.
    """
    if len(roots) != 1:
        return 0.0, False
    root = roots[0]
    if type(root) is not torch.Tensor or is_transformed():
        return 0.0, False
    if root.numel() != 1 or not root.is_floating_point():
        return 0.0, False
    if root.layout is not torch.strided or root.is_meta or not (wait or is_host(root)):
        return 0.0, False
    return root.item(), True  # not float(root), of which torch warns


def is_blind(roots: list[Any]) -> bool:
    """Whether nothing may be read meanwhile: a device is capturing what it is given."""
    return any(isinstance(root, torch.Tensor) and is_capturing(root) for root in roots)
