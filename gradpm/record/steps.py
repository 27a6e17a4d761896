"""What an optimizer's step was given and did: looked at in its first steps, then ever more rarely.

A fused norm of the gradients and a sum over the parameters' bits before, and one after, at
step 1 to 4, 8, 16, 32, ...
"""

from __future__ import annotations

from typing import Any

import torch

from gradpm.record.looks import plain
from gradpm.record.measure import norms_of
from gradpm.record.quiet import quiet, version_of

FIRST = 4


class StepLook:
    """What was seen before one step, to be held against what is there after it."""

    __slots__ = ("bits", "tensors", "versions")

    def __init__(self, optimizer: Any) -> None:
        self.tensors = [
            tensor
            for group in optimizer.param_groups
            for tensor in group["params"]
            if tensor.grad is not None and plain(tensor) and plain(tensor.grad)
        ]
        self.bits = bits_of(self.tensors)
        self.versions = [version_of(tensor) for tensor in self.tensors]

    def before(self) -> dict[str, Any]:
        """The size of all gradients together, and how many are nothing but zeros."""
        norms = norms_of([tensor.grad for tensor in self.tensors])
        known = [norm for norm in norms if norm is not None]
        return {
            "norm": sum(norm * norm for norm in known) ** 0.5,
            "zero": sum(norm == 0.0 for norm in known),
        }

    def after(self, identity: Any) -> dict[str, Any]:
        """Which parameters the step left as they were, to the last bit."""
        bits = bits_of(self.tensors)
        return {
            "looked": len(self.tensors),
            "kinds": sorted({str(tensor.dtype).removeprefix("torch.") for tensor in self.tensors}),
            "still": [
                identity.find(tensor)
                for tensor, now, then in zip(self.tensors, bits, self.bits, strict=True)
                if now is not None and now == then
            ],
        }


WORDS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def bits_of(tensors: list[Any]) -> list[int | None]:
    """A sum over the bits of each tensor, which any update changes; one copy per device.

    A norm would not do: it is rounded, in bfloat16 to three digits.
    """
    found: list[int | None] = [None] * len(tensors)
    groups: dict[Any, list[tuple[int, Any]]] = {}
    with quiet():
        for index, tensor in enumerate(tensors):
            word = None if tensor.is_complex() else WORDS.get(tensor.element_size())
            if word is not None:
                total = tensor.detach().view(word).sum(dtype=torch.int64)
                groups.setdefault(tensor.device, []).append((index, total))
        for sums in groups.values():
            values = torch.stack([total for _, total in sums]).tolist()
            for (index, _), value in zip(sums, values, strict=True):
                found[index] = value
    return found


def is_looked_at(count: int) -> bool:
    """Whether the count-th step (from 1) is one of those that are looked at."""
    return count <= FIRST or not count & (count - 1)
