"""A slice of torch's operator database; the whole: `python tests/op_db.py --all`."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest")

from op_db import check, op_db, slice_of  # noqa: E402
from op_ties import Ties  # noqa: E402

import gradpm  # noqa: E402

OPS = 50


def test_ops_give_the_same_bits_and_their_nodes_are_tied() -> None:
    count = check(slice_of(op_db, OPS), every=False)
    assert count.differences == []
    assert count.untied == []
    assert not count.unsteady
    assert len(count.ops) == OPS
    assert len(count.differentiable) > OPS // 2


def test_a_tensor_first_met_by_an_op_takes_none_of_its_nodes(tmp_path: Path) -> None:
    x = torch.ones(2, requires_grad=True)
    made_before = x * 2
    with gradpm.record(tmp_path / "t.gpm") as recording:
        ties = Ties(recording._recorder)
        with ties:
            ties.end(x.exp() + made_before)
    assert (ties.nodes, ties.loose) == (2, [])
