"""What a graph has saved, looked at once its engine call has raised.

Version counters and freed buffers say which node could not go on and which tensor
was to blame. A saved tensor with a hook of the user's is never unpacked: a hook may
have side effects, and torch checks no versions there anyway.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch

from gradpm.record.errors import text_of
from gradpm.record.graph import Graph
from gradpm.record.quiet import answers_itself, is_leaf, quiet, version_of

if TYPE_CHECKING:
    from gradpm.record.recorder import Recorder
    from gradpm.record.shared import Shared

RAW = "_raw_saved_"
VERSIONS = re.compile(r"is at version (\d+); expected version (\d+)")
SHAPE = re.compile(r"\[[\w.]+ \[([\d, ]*)\]\]")
FREED = "a second time"
SHOWS_HOOKS = hasattr(torch._C._autograd.SavedTensor, "unpack_hook")
"""An older torch (2.4) hides whether a slot has a hook: there only what raised is followed up."""
MOST_STALE = 64
MOST_FREED = 20_000


def saved_facts(graph: Graph, recorder: Recorder, error: BaseException) -> dict[str, Any]:
    """`stale`: saved tensors changed since; `freed`: nodes whose saved tensors are gone."""
    stale: list[dict[str, Any]] = []
    freed: list[int] = []
    told = text_of(error)
    if not (SHOWS_HOOKS or VERSIONS.search(told) or FREED in told):
        return {"stale": stale, "freed": freed}
    with quiet():
        for at, node in enumerate(graph.nodes[:MOST_FREED]):
            if at not in graph.leaves:
                _look(at, node, stale, freed)
        owners = _owners(recorder, [entry["storage"] for entry in stale])
    for entry in stale:
        entry["serials"] = owners.get(entry.pop("storage"), [])
    return {"stale": stale, "freed": freed}


def _look(at: int, node: Any, stale: list[dict[str, Any]], freed: list[int]) -> None:
    """One node: which of its saved tensors can no longer be read, and why."""
    for raw in dir(type(node)):
        if not raw.startswith(RAW):
            continue
        name = raw[len(RAW) :]
        try:
            held = getattr(node, raw)
        except RuntimeError as error:
            if FREED in str(error):
                freed.append(at)
                return
            continue
        many = isinstance(held, (tuple, list))
        slots = list(held) if many else [held]
        if any(getattr(slot, "unpack_hook", None) is not None for slot in slots):
            continue
        message = _refusal(node, name)
        if FREED in message:
            freed.append(at)
            return
        if VERSIONS.search(message) and len(stale) < MOST_STALE:
            stale.append(_stale(at, node, name, slots, message))


def _refusal(node: Any, name: str) -> str:
    """What torch says when a saved tensor is asked for; empty when it hands it out."""
    reader = "saved_tensors" if name == "tensors" else f"_saved_{name}"
    try:
        getattr(node, reader)
    except RuntimeError as error:
        return str(error)
    return ""


def _stale(at: int, node: Any, name: str, slots: list[Any], message: str) -> dict[str, Any]:
    """The tensor that was refused; among several, the first whose version is the one told."""
    found, expected = map(int, VERSIONS.findall(message)[0])
    # SavedTensor.data is younger than torch 2.4: without it torch's sentence tells the shape.
    tensors = [getattr(slot, "data", None) for slot in slots]
    tensors = [t for t in tensors if isinstance(t, torch.Tensor)]
    tensor = next((t for t in tensors if version_of(t) == found), None)
    return {
        "node": at,
        "seq": node._sequence_nr(),
        "saved": name,
        "found": found,
        "expected": expected,
        "shape": _shape(tensor, message),
        "dtype": str(tensor.dtype).removeprefix("torch.") if tensor is not None else "",
        "storage": _storage(tensor),
    }


def _shape(tensor: Any, message: str) -> list[int]:
    """A saved tensor's shape; where torch hides the tensor, as its message tells it."""
    if tensor is not None:
        return [] if answers_itself(tensor) else list(tensor.shape)
    told = SHAPE.search(message)
    return [int(size) for size in told.group(1).split(",") if size.strip()] if told else []


def _storage(tensor: Any) -> int:
    """Which memory a tensor has; 0 when it has none of its own to speak of."""
    if tensor is None or answers_itself(tensor) or tensor.layout is not torch.strided:
        return 0
    try:
        return int(tensor.untyped_storage()._cdata)
    except (RuntimeError, NotImplementedError, AttributeError):
        return 0


def _owners(recorder: Recorder, storages: list[int]) -> dict[int, list[int]]:
    """The serials of the living tensors in each of these storages."""
    found: dict[int, list[int]] = {storage: [] for storage in storages if storage}
    if not found:
        return found
    for reference, serial, _ in list(recorder.identity.known.values()):
        tensor = reference()
        if tensor is not None and (which := _storage(tensor)) in found:
            found[which].append(serial)
    return found


def operand_facts(tensors: list[Any], recorder: Shared) -> list[dict[str, Any]]:
    """What an op that raised was given: each operand's type, base and standing."""
    found = []
    with torch._C.DisableTorchFunction():
        for tensor in tensors[:64]:
            base = tensor._base if tensor._is_view() else None
            silent = answers_itself(tensor)
            strided = not silent and tensor.layout is torch.strided
            entry: dict[str, Any] = {
                "serial": recorder.identity.find(tensor),
                "shape": list(tensor.shape) if strided else [],
                "dtype": str(tensor.dtype).removeprefix("torch."),
                "device": "" if silent else str(tensor.device),
                "requires": bool(tensor.requires_grad),
                "leaf": is_leaf(tensor),
                "inference": bool(tensor.is_inference()),
            }
            if base is not None:
                entry["base"] = recorder.identity.find(base)
            found.append(entry)
    return found
