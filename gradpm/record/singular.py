"""Ops whose derivative or value can be infinite: watched one by one, on every step.

A NaN does not give a second chance: the step after it computes with NaN weights. So
the few ops that can make one from finite numbers get a hook on their node, which asks
whether what came out of it is still finite; where the result carries no gradient
(preparing data, say) the result itself is asked. About 4 us for each such op.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from gradpm.record.hooks import register
from gradpm.record.late import is_host
from gradpm.record.looks import finite, plain, saved_by
from gradpm.record.plans import DIVIDING, POWERS, Way, tame_if
from gradpm.record.quiet import is_transformed, is_unwatched, quiet
from gradpm.trace.schema import Op, When

if TYPE_CHECKING:
    from gradpm.record.oprow import OpWriter
    from gradpm.record.recorder import Recorder

MOST_HOOKS = 256  # between two engine calls
MOST_TOLD = 64  # LOOK rows from hooks and from ops, each
LARGEST = 1 << 16
ELSEWHERE = int(Op.IN_STEP | Op.IN_OPTIM | Op.IN_BACKWARD)


class Singular:
    """The hooks on singular nodes, and the looks at singular ops without gradient."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self._most = {"all": 1 << 20, "none": 0}.get(recorder.options.stats, MOST_HOOKS)
        self._left = self._most
        self._handles: list[Any] = []
        self._told_hooks = 0
        self._told_ops = 0
        self._large = 0

    def new_turn(self) -> None:
        """An engine call has ended."""
        self._left = self._most
        if self._handles:
            self._handles = [h for h in self._handles if h.hooks_dict_ref() is not None]

    def remove(self) -> None:
        """Take every hook off again."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def ran(self, tap: OpWriter, op: int, ins: list[int], tensors: list[Any], result: Any) -> None:
        """A singular op has returned."""
        if tap.place & ELSEWHERE or torch._C._len_torch_dispatch_stack() or is_transformed():
            return
        if not self._most:
            return
        outputs = result if isinstance(result, tuple) else (result,)
        for out in outputs[:3]:
            if not plain(out):
                continue
            if not out.requires_grad:
                self._value(op, ins, tensors, out)
            elif self._watch(op, out):
                return

    def applied(self, tap: OpWriter, op: int, result: Any) -> None:
        """A custom Function's apply has returned: its backward is the user's own arithmetic."""
        if tap.place & ELSEWHERE or torch._C._len_torch_dispatch_stack() or is_transformed():
            return
        for out in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(out, torch.Tensor) and plain(out) and self._watch(op, out):
                return

    def _watch(self, op: int, out: Any) -> bool:
        """Hook the node that made a tensor, if there is one and there may be another hook."""
        if out.grad_fn is None or self._left <= 0 or not is_host(out):
            return False
        self._left -= 1
        self._handles.append(register(out.grad_fn.register_hook, self._hook(op)))
        return True

    # -- results without gradient ------------------------------------------------

    def _value(self, op: int, ins: list[int], tensors: list[Any], out: Any) -> None:
        if self._told_ops >= MOST_TOLD or not is_host(out) or not out.numel():
            return
        if out.numel() > LARGEST:
            self._large += 1
            if self._large > 16 and self._large & (self._large - 1):
                return  # large results: each of the first, then ever more rarely
        with quiet():
            if finite(out):
                return
        self._told_ops += 1
        looks, recorder = self.recorder.looks, self.recorder
        serial = recorder.identity.find(out)
        number = recorder.engine.count
        looks.add(When.OP, number, op, None, "out", serial, out)
        for serial, tensor in zip(ins, tensors, strict=False):
            if plain(tensor):
                looks.add(When.OP, number, op, None, "in", serial, tensor)

    # -- results with gradient -----------------------------------------------------

    def _hook(self, op: int) -> Any:
        def passed(gradients: Any, incoming: Any) -> None:
            recorder = self.recorder
            if not recorder.on or self._told_hooks >= MOST_TOLD or is_transformed():
                return
            if recorder.guard("node hook", _is_bad, gradients):
                recorder.guard("node hook", self._bad, op, gradients, incoming)

        return passed

    def _bad(self, op: int, gradients: Any, incoming: Any) -> None:
        """Something that is not finite came out: was what went in?"""
        node = torch._C._current_autograd_node()
        with quiet():
            if not all(finite(g) for g in incoming if g is not None and plain(g)):
                return
        self._told_hooks += 1
        self._write(node, op, gradients, incoming)

    def _write(self, node: Any, op: int, gradients: Any, incoming: Any) -> None:
        looks, number = self.recorder.looks, self.recorder.engine.count - 1
        for gradient in incoming:
            if gradient is not None and plain(gradient):
                looks.add(When.HOOK, number, op, node, "grad in", 0, gradient)
        for gradient in gradients:
            if gradient is not None and plain(gradient):
                looks.add(When.HOOK, number, op, node, "grad out", 0, gradient)
        spoilt = False
        for slot, tensor in saved_by(node):
            serial = self.recorder.identity.find(tensor)
            looks.add(When.HOOK, number, op, node, slot, serial, tensor)
            with quiet():
                spoilt = spoilt or not finite(tensor)
        if spoilt:  # the forward was bad already: what is behind this node has not run yet
            looks.walk_from(node, number)


def _is_bad(gradients: Any) -> bool:
    """Whether one of these gradients is not finite; kept cheap where nobody would see it."""
    if is_unwatched():
        return any(g is not None and plain(g) and not finite(g) for g in gradients)
    with quiet():
        return any(g is not None and plain(g) and not finite(g) for g in gradients)


def is_tame(name: str, args: Any) -> bool:
    """Whether this call of a singular op cannot go wrong, see `plans.tame_if`."""
    way = tame_if(name)
    if way == Way.IF_TRACKED:
        return bool(args) and getattr(args[0], "requires_grad", False)
    if way is None or len(args) < 2 or not isinstance(args[1], (int, float)):
        return False
    return args[1] != 0 if way == Way.IF_DIVIDED else args[1] >= 1


def scalar_of(name: str, args: Any) -> dict[str, Any] | None:
    """What a division or a power that is not tame was given in place of a second tensor."""
    if name not in DIVIDING and name not in POWERS:
        return None
    second = args[1] if len(args) > 1 else None
    if isinstance(second, torch.Tensor):
        return None
    return {"by": second if isinstance(second, (int, float)) else None}
