"""The optimizers of a run: what each owns and was told, and when it acted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gradpm.trace.model import Event

if TYPE_CHECKING:
    from gradpm.trace.model import Trace


@dataclass(slots=True)
class Optimizer:
    """One optimizer: where it was made, what it owns, when it acted."""

    id: int
    type: str
    frame: int
    op: int
    params: dict[int, int] = field(default_factory=dict)  # serial -> op id when it was given
    options: list[dict[str, Any]] = field(default_factory=list)
    groups: list[list[int]] = field(default_factory=list)  # serials, a list for each of `options`
    steps: list[Event] = field(default_factory=list)
    stepped: list[Event] = field(default_factory=list)
    zeroed: list[Event] = field(default_factory=list)


def read_optimizers(trace: Trace) -> list[Optimizer]:
    """Every optimizer, in order of construction."""
    found: dict[int, Optimizer] = {}
    for event in trace.events:
        if not event.kind.startswith("optimizer."):
            continue
        optimizer = found.get(event.object)
        if optimizer is None:
            kind = str(event.detail.get("type", "optimizer"))
            optimizer = Optimizer(event.object, kind, event.frame, event.op)
            found[event.object] = optimizer
        if event.kind in ("optimizer.new", "optimizer.group"):
            _groups(optimizer, event)
        elif event.kind == "optimizer.step":
            optimizer.steps.append(event)
        elif event.kind == "optimizer.stepped":
            optimizer.stepped.append(event)
        elif event.kind == "optimizer.zero_grad":
            optimizer.zeroed.append(event)
    return list(found.values())


def _groups(optimizer: Optimizer, event: Event) -> None:
    groups = event.detail.get("groups")
    if not isinstance(groups, list):
        return
    optimizer.options, optimizer.groups = [], []
    for group in groups:
        if not isinstance(group, dict):
            continue
        options = group.get("options")
        optimizer.options.append(options if isinstance(options, dict) else {})
        members = [s for s in group.get("params") or () if isinstance(s, int)]
        optimizer.groups.append(members)
        for serial in members:
            optimizer.params.setdefault(serial, event.op)
