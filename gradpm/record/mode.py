"""A torch function mode that knows where it stands in its thread's stack of modes."""

from __future__ import annotations

import torch
from torch.overrides import TorchFunctionMode

depth_of, mode_at = torch._C._len_torch_function_stack, torch._C._get_function_stack_at
pop, push = torch._C._pop_torch_function_stack, torch._C._push_on_torch_function_stack


class StackedMode(TorchFunctionMode):
    """Can be taken out from among other modes, and be put back where it was."""

    def is_on(self) -> bool:
        """Whether this tap acts at this moment (torch takes modes off while one handles)."""
        depth = depth_of()
        if depth and mode_at(depth - 1) is self:
            return True
        return any(mode_at(at) is self for at in range(depth))

    def place_in_stack(self) -> int | None:
        """Where this tap stands in this thread's stack of modes; None if it is not there."""
        for at in range(depth_of()):
            if mode_at(at) is self:
                return at
        return None

    def leave(self) -> None:
        """Act no more in this thread, wherever in its stack of modes this one stands."""
        above = []
        while depth_of():
            mode = pop()
            if mode is self:
                break
            above.append(mode)
        for mode in reversed(above):
            push(mode)

    def enter_at(self, place: int) -> None:
        """Act again, at this place in this thread's stack of modes."""
        above = []
        while depth_of() > place:
            above.append(pop())
        push(self)
        for mode in reversed(above):
            push(mode)
