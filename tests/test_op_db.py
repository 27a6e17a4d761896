"""A slice of torch's operator database; the whole: `python tests/op_db.py --all`."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("expecttest")

from op_db import check, op_db, slice_of

OPS = 60


def test_ops_give_the_same_bits_and_their_nodes_are_tied() -> None:
    count = check(slice_of(op_db, OPS), every=False)
    assert count.differences == []
    assert count.untied == []
    assert len(count.ops) == OPS
    assert len(count.differentiable) > OPS // 2
