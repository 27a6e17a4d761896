"""Facts that an older torch does not give are done without; each is asked for, no version is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from gradpm.record import saved  # noqa: E402

REFUSED = (
    "one of the variables needed for gradient computation has been modified by an inplace "
    "operation: [torch.FloatTensor [64, 4]], which is output 0 of ExpBackward0, is at version 1; "
    "expected version 0 instead."
)


class Node:
    """A node of torch 2.4: its raw slot tells neither the tensor nor its hooks."""

    _raw_saved_result = object()

    @property
    def _saved_result(self) -> Any:
        raise RuntimeError(REFUSED)

    def _sequence_nr(self) -> int:
        return 7


def test_without_the_raw_tensor_its_shape_is_taken_from_the_sentence() -> None:
    graph: Any = SimpleNamespace(nodes=[Node()], leaves={})
    recorder: Any = SimpleNamespace(identity=SimpleNamespace(known={}))
    facts = saved.saved_facts(graph, recorder, RuntimeError(REFUSED))
    entry = facts["stale"][0]
    assert (entry["shape"], entry["found"], entry["expected"]) == ([64, 4], 1, 0)
    assert (entry["seq"], entry["saved"], entry["serials"]) == (7, "result", [])


def test_slots_whose_hooks_are_hidden_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved, "SHOWS_HOOKS", False)
    graph: Any = SimpleNamespace(nodes=[Node()], leaves={})
    recorder: Any = SimpleNamespace(identity=SimpleNamespace(known={}))
    facts = saved.saved_facts(graph, recorder, ValueError("the user's own"))
    assert facts == {"stale": [], "freed": []}
