"""Which tensors share memory, by the ops that make views, and what changed it when."""

from __future__ import annotations

from dataclasses import dataclass

from gradpm.diagnose.facts import Facts
from gradpm.diagnose.op_names import VIEWS, target_of, views_of
from gradpm.diagnose.ops import OpRow
from gradpm.trace.schema import Op, Table

# they look like views but hand out memory, or a version counter, of their own
OWN_COUNTER = frozenset(
    "data.__get__ Parameter Variable from_numpy numpy real.__get__ imag.__get__".split()
)


_NO_WRITE = Op.RAISED | Op.SETTER


@dataclass(slots=True)
class Change:
    """One op that moved a version counter on."""

    op: OpRow
    serial: int
    version: int  # after it; -1 when it was not read


class Memory:
    """Classes of tensors with one version counter."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self._base: dict[int, int] = {}
        self.view_rows: dict[int, int] = {}
        self._changes: dict[int, list[Change]] = {}
        self._read_views()
        self._read_changes()

    def _read_views(self) -> None:
        for op in self.facts.ops_named(VIEWS - OWN_COUNTER):
            for base, view in views_of(op):
                if view not in self._base and view > 0:
                    self._base[view] = base
                    self.view_rows[view] = op.row

    def _read_changes(self) -> None:
        facts = self.facts
        columns = facts.trace.table(Table.CHANGE)
        done = set()
        rows = zip(columns["op"], columns["serial"], columns["version"], strict=True)
        for op, serial, version in rows:
            row = facts.trace.op_row.get(op)
            if row is not None and not facts.op(row).has(Op.RAISED):
                change = Change(facts.op(row), serial, version)
                self._changes.setdefault(self.root(serial), []).append(change)
                done.add((row, serial))
        for op_row in facts.ops_named(_Writing()):
            target = target_of(op_row)
            if target and (op_row.row, target) not in done and not op_row.has(_NO_WRITE):
                self._changes.setdefault(self.root(target), []).append(Change(op_row, target, -1))

    def root(self, serial: int) -> int:
        """The tensor that owns the memory."""
        for _ in range(1000):
            base = self._base.get(serial)
            if base is None or base == serial:
                return serial
            serial = base
        return serial

    def way(self, serial: int) -> list[int]:
        """Rows of the views from a tensor back to the one that owns the memory."""
        rows: list[int] = []
        while serial in self._base and len(rows) < 1000:
            rows.append(self.view_rows[serial])
            serial = self._base[serial]
        return rows

    def changes(self, roots: set[int], after: int, before: int) -> list[Change]:
        """What changed these memories by ops with after < id < before, in order."""
        found = [
            change
            for root in roots
            for change in self._changes.get(root, ())
            if after < change.op.id < before
        ]
        return sorted(found, key=lambda change: change.op.id)


class _Writing:
    """The names of ops that must have written, though no CHANGE was seen."""

    def __contains__(self, name: object) -> bool:
        own = isinstance(name, str) and name.endswith("_") and not name.startswith("__")
        return own or name == "__setitem__"
