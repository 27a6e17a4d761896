"""How large a gradient is, and what stands in it: asked without a mark on the program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from gradpm.record.quiet import is_seen, quiet
from gradpm.trace.schema import GradState

_set_grad_enabled = torch._C._set_grad_enabled


def state_of(norm: float | None) -> GradState:
    """What a norm alone says of a gradient."""
    if norm is None:
        return GradState.UNREAD
    if norm != norm:
        return GradState.NAN
    if norm == float("inf"):
        return GradState.INF
    return GradState.ZERO if norm == 0.0 else GradState.FINITE


def unrecorded(act: Callable[[list[Any]], Any], grads: list[Any]) -> Any:
    """What `act` makes of these gradients, while nobody of the user's sees an op.

    Torch functions are off already. Grad mode is set by hand: `no_grad` costs twice as much.
    """
    if is_seen():
        with quiet():
            return act(grads)
    was_enabled = torch.is_grad_enabled()
    _set_grad_enabled(False)
    try:
        return act(grads)
    finally:
        _set_grad_enabled(was_enabled)


def norms_of(grads: list[Any]) -> list[float | None]:
    """2-norms of dense gradients with one fused call and one copy per device and dtype."""
    found: list[float | None] = unrecorded(_norms_of, grads)
    return found


def alike(grads: list[Any]) -> list[list[int]]:
    """Which of these gradients may be given to one fused call: of one device and dtype."""
    groups: dict[Any, list[int]] = {}
    for index, grad in enumerate(grads):
        groups.setdefault((grad.device, grad.dtype), []).append(index)
    return list(groups.values())


def _norms_of(grads: list[Any]) -> list[float | None]:
    found: list[float | None] = [None] * len(grads)
    for indices in alike(grads):
        try:
            norms = torch._foreach_norm([grads[index] for index in indices])
            # From the host one by one, which is cheaper; from a device all at once.
            values = (
                [norm.item() for norm in norms]
                if norms[0].is_cpu
                else torch.stack(list(norms)).tolist()
            )
        except RuntimeError:
            continue
        for index, value in zip(indices, values, strict=True):
            found[index] = value
    return found


def statistics(grad: Any) -> tuple[float, int, int, float]:
    """(largest magnitude, NaNs, Infs, fraction of zeros) of a dense tensor."""
    with quiet():
        if not grad.numel():
            return 0.0, 0, 0, 0.0
        magnitude = grad.abs()
        nan = int(torch.isnan(magnitude).sum())
        inf = int(torch.isinf(magnitude).sum())
        zero = float((magnitude == 0).sum()) / grad.numel()
        finite = magnitude if not nan and not inf else magnitude[torch.isfinite(magnitude)]
        largest = float(finite.max()) if finite.numel() else 0.0
    return largest, nan, inf, zero
