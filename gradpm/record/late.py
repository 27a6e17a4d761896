"""Norms of gradients on a device: asked for at once, read when the device has come so far.

To read a number from a device is to wait until it has done all that it was given, and a
program that was never made to wait would be, at each step. So the norms are copied as they
come about, and the rows about these gradients are written some calls later. Until then a
leaf's gradient is not known to be zero or not, and a full look at the next call of a bad one
comes late. Not asked while a stream is captured: a copy would be part of the capture.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from gradpm.record.measure import alike, state_of, unrecorded
from gradpm.record.quiet import EXACT
from gradpm.trace.schema import GradState

if TYPE_CHECKING:
    from gradpm.record.known import Dense
    from gradpm.record.leaves import Leaves

MOST_WAITING = 4096  # calls; of older ones it is said that they were not read
HALVES = (torch.float16, torch.bfloat16)  # whose squares overflow


@dataclass(slots=True)
class Waiting:
    """What one engine call left in some leaves on one device."""

    backward: int
    stack: int
    items: list[tuple[Any, int, int]]  # the leaf, its version counter, the flags of its row
    numbers: Any  # on the host, once `done`: norms, then largest magnitudes; None: not asked
    done: Any  # an event of the device; None where it has none


class LateNorms:
    """The engine calls whose gradients the device has not told of yet, the oldest first."""

    def __init__(self, leaves: Leaves) -> None:
        self._leaves = leaves
        self._waiting: deque[Waiting] = deque()

    def ask(self, backward: int, stack: int, dense: list[Dense]) -> None:
        """Have the norms of these gradients taken and copied; their rows come later."""
        read = self._leaves.recorder.options.stats != "none"
        for indices in alike([grad for _, _, grad, _ in dense]):
            some = [dense[index] for index in indices]
            items = [(known, version, flags) for known, version, _, flags in some]
            call = Waiting(backward, stack, items, None, None)
            grads = [grad for _, _, grad, _ in some]
            try:
                if read and not is_capturing(grads[0]):
                    call.numbers = unrecorded(_copied, grads)
                    call.done = mark(grads[0].device)
            except RuntimeError:  # a kind of number that this device takes no norm of
                call.numbers = None
            if call.numbers is None:
                self._write(call)
                continue
            for known, _, _ in items:
                known.late = backward
            self._waiting.append(call)

    def read(self, *, wait: bool = False) -> None:
        """Write the rows of all calls that the device has done; at the end `wait` for the rest."""
        waiting = self._waiting
        if not waiting:
            return
        while waiting and (wait or is_done(waiting[0].done)):
            self._write(waiting.popleft())
        while len(waiting) > MOST_WAITING:
            oldest = waiting.popleft()
            oldest.numbers = None
            self._write(oldest)

    def _write(self, call: Waiting) -> None:
        """Its rows; of what was not read they say so."""
        count, due = len(call.items), False
        told: list[tuple[int, float]] = [(int(GradState.UNREAD), 0.0)] * count
        if call.numbers is not None:
            with contextlib.suppress(RuntimeError):  # the device has failed meanwhile
                numbers = call.numbers.tolist()
                told = [
                    judged(*pair) for pair in zip(numbers[:count], numbers[count:], strict=True)
                ]
        for (known, version, flags), (state, norm) in zip(call.items, told, strict=True):
            due |= self._leaves.write_late(call.backward, known, version, state, flags, norm)
        if due:
            self._leaves.recorder.engine.fullness.suspects.add(call.stack)


def judged(norm: float, largest: float) -> tuple[int, float]:
    """(state, norm) of a gradient; where its squares overflowed or vanished, at least so much."""
    if largest == math.inf:
        return int(GradState.INF), norm
    state = state_of(norm)
    if largest == largest and (state is GradState.INF or (state is GradState.ZERO and largest)):
        return int(GradState.FINITE), largest
    return int(state), norm


def _copied(grads: list[Any]) -> Any:
    """The norms and then the largest magnitudes, on their way to the host."""
    if grads[0].dtype in HALVES:
        norms = torch._foreach_norm(grads, 2, dtype=torch.float32)
    else:
        norms = torch._foreach_norm(grads)
    largest = torch._foreach_norm(grads, math.inf)
    numbers = torch.stack([*norms, *(number.to(norms[0].dtype) for number in largest)])
    return numbers.to("cpu", non_blocking=True)


def is_host(grad: Any) -> bool:
    """Whether a gradient can be read without waiting for a device."""
    return bool(grad.is_cpu)


def is_capturing(tensor: Any) -> bool:
    """Whether what is asked of a device now would become part of a graph of its own, or end it."""
    if type(tensor) not in EXACT or not tensor.is_cuda:  # a subclass's own code would be asked
        return False
    return bool(torch.cuda.is_current_stream_capturing())


def mark(device: Any) -> Any:
    """An event that is done when a device has done what it has been given so far, or None."""
    module: Any = getattr(torch, device.type, None)
    if not hasattr(module, "Event") or not hasattr(module, "current_stream"):
        return None
    event = module.Event()
    event.record(module.current_stream(device))
    return event


def is_done(event: Any) -> bool:
    """Whether a device has come to an event; asking makes nobody wait."""
    return event is not None and bool(event.query())
