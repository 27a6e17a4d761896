"""Fast tests first: what fails in a second is told in the first minute."""

from __future__ import annotations

import pytest

SLOW = ("test_examples", "test_faults", "test_raised", "test_numbers", "test_loops", "test_op_db",
        "test_screenshots", "test_invisible")  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order by how long a file's tests take; the order within a file stays."""
    items.sort(key=lambda item: SLOW.index(item.path.stem) + 1 if item.path.stem in SLOW else 0)
