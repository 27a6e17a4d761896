"""What an optimizer's step was given and did: looked at in its first steps, then ever more rarely.

Two fused norms before and one after, at step 1 to 4, 8, 16, 32, ...
"""

from __future__ import annotations

from typing import Any

from gradpm.record.leaves import norms_of, version_of
from gradpm.record.looks import plain

FIRST = 4


class StepLook:
    """What was seen before one step, to be held against what is there after it."""

    __slots__ = ("norms", "tensors", "versions")

    def __init__(self, optimizer: Any) -> None:
        self.tensors = [
            tensor
            for group in optimizer.param_groups
            for tensor in group["params"]
            if tensor.grad is not None and plain(tensor) and plain(tensor.grad)
        ]
        self.norms = norms_of(self.tensors)
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
        """Which parameters the step left as they were, to the last bit of their norm."""
        norms = norms_of(self.tensors)
        return {
            "looked": len(self.tensors),
            "still": [
                identity.find(tensor)
                for tensor, now, then in zip(self.tensors, norms, self.norms, strict=True)
                if now is not None and now == then
            ],
        }


def is_looked_at(count: int) -> bool:
    """Whether the count-th step (from 1) is one of those that are looked at."""
    return count <= FIRST or not count & (count - 1)
