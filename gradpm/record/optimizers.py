"""Optimizers: where each was made and of what, and every step and zero_grad."""

from __future__ import annotations

import weakref
from types import CodeType
from typing import TYPE_CHECKING, Any

import torch

from gradpm.record.closures import Closure, code_of
from gradpm.record.late import is_capturing, is_host
from gradpm.record.quiet import quiet, version_of
from gradpm.record.steps import StepLook, is_looked_at
from gradpm.trace.schema import LeafKind, Op

if TYPE_CHECKING:
    from gradpm.record.recorder import Recorder


IN_STEP = int(Op.IN_STEP)
MOST_WITHOUT = 64
MOST_CLOSURES = 256
MOST_SAID = 1024


class Optimizers:
    """Events about optimizers: `optimizer.new`, `.group`, `.step`, `.stepped`, `.zero_grad`."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self._known: dict[int, tuple[Any, int]] = {}
        self._count = 0
        self._wrapper: Any = None  # the code of torch's wrapper around every step
        self._steps: dict[int, int] = {}
        self._looks: dict[int, StepLook] = {}
        self._closures: dict[int, Closure] = {}  # by the id of their code
        self._said: dict[tuple[Any, ...], int] = {}

    def id(self, optimizer: Any) -> int:
        """The number of an optimizer, from 1; 0 when it was never seen."""
        known = self._known.get(id(optimizer))
        return known[1] if known is not None and known[0]() is optimizer else 0

    def made(self, optimizer: Any, frame: Any) -> int:
        """An optimizer was made (or is first seen)."""
        known = self.id(optimizer)
        if known:
            return known
        self._count += 1
        self._known[id(optimizer)] = (weakref.ref(optimizer), self._count)
        self.recorder.names.read(frame, self.recorder.engine.count)
        self._event("optimizer.new", optimizer, frame, groups=True)
        return self._count

    def refused(self, args: Any, frame: Any) -> None:
        """The constructor raised: name the tensors that are no leaves."""
        given = args[0] if args else ()
        groups = given if isinstance(given, (list, tuple)) else [given]
        tensors = []
        for item in groups:
            inner = item.get("params", ()) if isinstance(item, dict) else item
            found = inner if isinstance(inner, (list, tuple)) else [inner]
            tensors += [t for t in found if isinstance(t, torch.Tensor) and not t.is_leaf]
        self.recorder.names.read(frame, self.recorder.engine.count)
        tap = self.recorder.tap()
        serials = [tap.serial(tensor, frame) for tensor in tensors]
        self.recorder.event("optimizer.refused", frame, 0, {"non_leaves": serials})

    def group_added(self, optimizer: Any, frame: Any) -> None:
        """A parameter group was added after construction."""
        if self.id(optimizer):
            self._event("optimizer.group", optimizer, frame, groups=True)

    def before_step(self, optimizer: Any, given: tuple[Any, Any], frame: Any) -> None:
        """A step begins; `frame` is that of torch's own wrapper around it."""
        recorder = self.recorder
        which = self.made(optimizer, frame)
        self._wrapper = frame.f_code
        tap = recorder.tap()
        tap.place |= IN_STEP
        tap.closures.append(self._closure(code_of(*given)))
        without, have, lrs = [], 0, []
        for group in optimizer.param_groups:
            rate = group.get("lr")
            lrs.append(_number(rate))
            for tensor in group["params"]:
                if tensor.grad is None:
                    without.append(tensor)
                else:
                    have += 1
        seen = self._look(optimizer, which)
        if have and without:
            seen["without"] = [recorder.identity.find(t) for t in without[:MOST_WITHOUT]]
        said: Any = {"none": len(without), "have": have, "lr": lrs, **seen}
        recorder.event("optimizer.step", frame, which, said if seen else self._usual(said))

    def _usual(self, said: dict[str, Any]) -> int:
        """The id of what most steps say."""
        key = said["none"], said["have"], *said["lr"]
        found = self._said.get(key)
        if found is None:
            if len(self._said) >= MOST_SAID:  # a rate that changes at every step
                self._said.clear()
            found = self._said[key] = self.recorder.strings.json(said)
        return found

    def _closure(self, code: CodeType | None) -> Closure | None:
        if code is None:
            return None
        found = self._closures.get(id(code))
        if found is None or found.code is not code:
            if len(self._closures) >= MOST_CLOSURES:
                self._closures.clear()
            found = self._closures[id(code)] = Closure(self.recorder.stacks, self._wrapper, code)
        return found

    def _look(self, optimizer: Any, which: int) -> dict[str, Any]:
        """The sizes of what the step is given, in those steps that are looked at."""
        count = self._steps[which] = self._steps.get(which, 0) + 1
        if self.recorder.options.stats == "none" or not is_looked_at(count):
            return {}
        if any(is_capturing(t) for group in optimizer.param_groups for t in group["params"]):
            return {}
        look = self._looks[which] = StepLook(optimizer)
        return look.before()

    def after_step(self, optimizer: Any, frame: Any) -> None:
        """A step has ended."""
        recorder = self.recorder
        tap = recorder.tap()
        if tap.closures:
            tap.closures.pop()
        if tap.closures:
            self.find_place(tap, frame.f_back)  # one step inside another
        else:
            tap.place &= ~IN_STEP
        recorder.steps += 1
        which = self.id(optimizer)
        look = self._looks.pop(which, None)
        seen = look.after(recorder.identity) if look is not None else {}
        if recorder.steps <= 8 or recorder.steps % 64 == 0:
            seen["versions"] = [
                [recorder.identity.find(tensor), max(version_of(tensor), 0)]
                for group in optimizer.param_groups
                for tensor in group["params"]
            ]
        recorder.event("optimizer.stepped", frame, which, seen)

    def find_place(self, tap: Any, frame: Any) -> None:
        """Is this thread inside a step? A step that raised never says that it has ended."""
        if not tap.place & IN_STEP and not tap.closures:
            return
        while frame is not None and frame.f_code is not self._wrapper:
            frame = frame.f_back
        if frame is None:
            tap.place &= ~IN_STEP
            tap.closures.clear()

    def zeroed(self, optimizer: Any, frame: Any) -> None:
        """zero_grad was called on an optimizer."""
        which = self.made(optimizer, frame)
        self.find_place(self.recorder.tap(), frame)
        self.recorder.event("optimizer.zero_grad", frame, which)

    def _event(
        self, kind: str, optimizer: Any, frame: Any, *, groups: bool = False, **detail: Any
    ) -> None:
        recorder = self.recorder
        detail = {name: value for name, value in detail.items() if value is not None}
        if groups:
            detail["type"] = type(optimizer).__name__
            detail["groups"] = [self._group(group, frame) for group in optimizer.param_groups]
        recorder.event(kind, frame, self.id(optimizer), detail)

    def _group(self, group: dict[str, Any], frame: Any) -> dict[str, Any]:
        leaves = self.recorder.leaves
        stack, _ = self.recorder.stacks.at(frame)
        serials = []
        for tensor in group["params"]:
            parameter = isinstance(tensor, torch.nn.Parameter)
            kind = LeafKind.PARAMETER if parameter else LeafKind.TENSOR
            serial = leaves.add(tensor, stack, kind)
            leaves.optimized(serial)
            serials.append(serial)
        numbers = {
            name: value
            for name, value in group.items()
            if name != "params" and isinstance(value, (int, float, bool, str))
        }
        return {"params": serials, "options": numbers}


def _number(rate: Any) -> float | None:
    """A learning rate; of a tensor only if reading it makes nobody wait."""
    if isinstance(rate, (int, float)):
        return float(rate)
    if isinstance(rate, torch.Tensor) and is_host(rate) and rate.numel() == 1:
        with quiet():
            return float(rate)
    return None
