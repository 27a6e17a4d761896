"""Which saved tensor backward refused, by torch's sentence and by the graph that was left."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from gradpm.diagnose.case import Case
from gradpm.diagnose.ops import OpRow
from gradpm.diagnose.raised import Raised
from gradpm.trace.model import Spec

PARTS = re.compile(
    r"\[(?:torch\.)?(?:\w+\.)*(\w+) \[([\d, ]*)\]\](?:, which is output (\d+) of ([\w:]+),)?"
    r" is at version (\d+); expected version (\d+)"
)
RESULTS = frozenset("result output out results".split())  # saved under these: what the op made


@dataclass
class Stale:
    """The saved tensor that backward refused."""

    shape: tuple[int, ...]
    found: int
    expected: int
    saver: OpRow | None = None
    saved: str = ""
    serials: list[int] = field(default_factory=list)  # may be it, or share its memory
    roots: set[int] = field(default_factory=set)  # the owners of that memory
    others: list[OpRow] = field(default_factory=list)  # ops that had saved it too

    @property
    def is_result(self) -> bool:
        """Whether the op had saved its own result rather than an input."""
        return self.saved.rstrip("0123456789") in RESULTS or self.saved.startswith("result")


def stale_of(case: Case, raised: Raised) -> Stale:
    """What torch's message and the graph together say of the tensor."""
    shape, found, expected = _spoken_of(raised.message)
    entries = raised.error.detail.get("stale")
    kept = [entry for entry in entries if _is_entry(entry)] if isinstance(entries, list) else []
    same = [e for e in kept if (e["found"], e["expected"]) == (found, expected)]
    shaped = [e for e in same if sorted(e.get("shape", ())) == sorted(shape)]
    candidates = shaped or same or kept
    if not candidates:
        return _from_message(case, raised, shape, found, expected)
    best = max(candidates, key=lambda entry: int(entry["seq"]))
    stale = Stale(
        tuple(best.get("shape", shape)), found, expected, saved=str(best.get("saved", ""))
    )
    stale.saver = _op_of(case, raised, best)
    stale.serials = [s for s in best.get("serials", ()) if isinstance(s, int)]
    if stale.saver is not None:
        stale.serials = _of_saver(case, stale) + stale.serials
    stale.roots = {case.memory.root(serial) for serial in stale.serials}
    others = [entry for entry in kept if entry is not best and _shares(entry, best)]
    stale.others = [op for entry in others if (op := _op_of(case, raised, entry)) is not None]
    return stale


def _op_of(case: Case, raised: Raised, entry: dict[str, Any]) -> OpRow | None:
    """The op whose node holds a saved tensor."""
    nodes = case.graphs.of(raised.call) if raised.call is not None else []
    at = entry.get("node")
    if isinstance(at, int) and 0 <= at < len(nodes):
        return case.graphs.op(nodes[at])
    return None


def _shares(entry: dict[str, Any], best: dict[str, Any]) -> bool:
    """Whether two saved tensors have the same memory."""
    return bool(set(entry.get("serials", ())) & set(best.get("serials", ())))


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and all(
        isinstance(entry.get(key), int) for key in ("seq", "found", "expected")
    )


def _spoken_of(message: str) -> tuple[tuple[int, ...], int, int]:
    """(shape, version found, version expected) out of torch's sentence."""
    match = PARTS.search(message)
    if match is None:
        return (), -1, -1
    sizes = tuple(int(size) for size in match.group(2).replace(" ", "").split(",") if size)
    return sizes, int(match.group(5)), int(match.group(6))


def _of_saver(case: Case, stale: Stale) -> list[int]:
    """Among what went into the saver, or came out of it, the tensors that fit."""
    saver = stale.saver
    assert saver is not None
    pools = [saver.outs, saver.ins] if stale.is_result else [saver.ins, saver.outs]
    known = set(stale.serials)
    for pool in pools:
        fitting = [s for s in pool if _fits(case.facts.spec_of(s), stale.shape)]
        if any(serial in known for serial in fitting):
            return [serial for serial in fitting if serial in known]
        if fitting and not known:
            return fitting
    return []


def _fits(spec: Spec, shape: tuple[int, ...]) -> bool:
    """Same sizes in any order: a Linear saves its weight transposed; flattened counts too."""
    if sorted(spec.shape) == sorted(shape):
        return True
    return _count(spec.shape) == _count(shape)


def _count(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def _from_message(
    case: Case, raised: Raised, shape: tuple[int, ...], found: int, expected: int
) -> Stale:
    """The graph could not be read: look for a change that brought this shape to this version."""
    stale = Stale(shape, found, expected)
    memory, facts = case.memory, case.facts
    roots = {memory.root(serial) for serial in [*facts.makers, *facts.trace.leaves]}
    for change in reversed(memory.changes(roots, 0, raised.error.op)):
        if change.version == found and _fits(facts.spec_of(change.serial), shape):
            stale.serials = [change.serial]
            stale.roots = {memory.root(change.serial)}
            return stale
    return stale
