"""Does history pile up? Which tensors of earlier steps still live with their graphs.

Looked at when the number of engine calls has grown by half again: ever more rarely.
"""

from __future__ import annotations

import itertools
from collections import deque
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch

from gradpm.record.held import fields_of, home_of

if TYPE_CHECKING:
    from gradpm.record.recorder import Recorder

FIRST = 6
STEPS_AGO = 3
MOST = 64
DEEPEST = 4
MOST_ITEMS = 1 << 14
MOST_VISITS = 1 << 16


class Growth:
    """Events `alive`: old tensors that still hold a graph, and the container they are in."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self._next = FIRST
        self._serials: deque[int] = deque(maxlen=STEPS_AGO)
        self._last_serial = 0
        self._visits = 0

    def turn(self, frame: FrameType, number: int, serial: int) -> None:
        """An engine call begins; `serial` is its root's."""
        self._last_serial = max(self._last_serial, serial)
        self._serials.append(self._last_serial)
        if number < self._next or len(self._serials) < STEPS_AGO:
            return
        self._next = number + max(number // 2, FIRST)
        if not self.recorder.is_alone():
            return  # what another thread works on is not to be touched
        old = self._old(self._serials[0])
        if len(old) >= STEPS_AGO:
            serials = sorted(old)
            chosen = serials[:MOST]
            holder = self._holder(frame, {id(old[serial]) for serial in chosen})
            detail = {"count": len(serials), "serials": chosen, "holder": holder}
            self.recorder.event("alive", frame, 0, detail)

    def _old(self, before: int) -> dict[int, Any]:
        """Tensors with a graph, made before the last few engine calls began."""
        found = {}
        for reference, serial, _ in list(self.recorder.identity.known.values()):
            if 0 < serial < before:
                tensor = reference()
                if type(tensor) is torch.Tensor and tensor.requires_grad and tensor.grad_fn:
                    found[serial] = tensor
        return found

    def _holder(self, frame: FrameType | None, wanted: set[int]) -> str:
        """What a person calls the container that holds most of them; empty when not found."""
        best, most = "", 1
        self._visits = MOST_VISITS
        seen: set[int] = set()
        while frame is not None:
            for name, value in self.recorder.names.variables(frame):
                path, count = self._search(name, value, wanted, seen, 0)
                if count > most:
                    best, most = path, count
            frame = frame.f_back
        return best

    def _search(
        self, name: str, value: Any, wanted: set[int], seen: set[int], depth: int
    ) -> tuple[str, int]:
        """(path, how many of the wanted it holds) of the best container in or below a value."""
        self._visits -= 1
        if depth > DEEPEST or id(value) in seen or self._visits < 0:
            return "", 0
        kind = type(value)
        items = _items(value)
        if items is not None:
            return self._in_container(name, value, items, wanted, seen, depth)
        fields = fields_of(value)
        if not fields or home_of(kind) in ("torch", "builtins", "numpy"):
            return "", 0
        seen.add(id(value))
        best = ("", 0)
        for field, item in list(fields.items())[:256]:
            path = field if name == "self" else f"{name}.{field}"
            best = max(best, self._search(path, item, wanted, seen, depth + 1), key=_count)
        return best

    def _in_container(
        self, name: str, value: Any, items: list[Any], wanted: set[int], seen: set[int], depth: int
    ) -> tuple[str, int]:
        """The container itself, unless one inside it holds all that it holds.

        What its small parts hold, a tuple for each step of a replay memory, counts as its own.
        """
        seen.add(id(value))
        own = sum(id(item) in wanted for item in items)
        best, inside = ("", 0), 0
        for item in items if depth < DEEPEST else ():
            if issubclass(type(item), (torch.Tensor, int, float, str, bytes)):
                continue
            found = self._search(name, item, wanted, seen, depth + 1)
            inside += found[1]
            best = max(best, found, key=_count)
        return best if best[1] == own + inside else (name, own + inside)


def _items(value: Any) -> list[Any] | None:
    """What a container holds, without running a subclass's own code; None for anything else."""
    kind = type(value)
    if issubclass(kind, dict):
        return list(itertools.islice(dict.values(value), MOST_ITEMS))
    for base in (list, tuple, deque, set):
        if issubclass(kind, base):
            return list(itertools.islice(base.__iter__(value), MOST_ITEMS))
    return None


def _count(found: tuple[str, int]) -> int:
    return found[1]
