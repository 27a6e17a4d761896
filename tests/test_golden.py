"""What an earlier gradpm wrote is still read, and still understood.

`traces/` keeps one trace per release, recorded from a script in which several things go wrong,
so that every table has rows; its source is in the trace. A trace there is never made anew: when
one of these tests fails, today's reader has forgotten something.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from launching import ROOT, under

from gradpm.diagnose import diagnose
from gradpm.trace.model import Trace
from gradpm.trace.schema import COLUMNS, Table

FOLDER = ROOT / "tests/traces"
ROWS = {
    "0.1.0": {
        "META": 20, "STRING": 182, "FILE": 15, "FRAME": 110, "MODULE": 4, "SCOPE": 5, "SPEC": 9,
        "OP": 91, "LEAF": 7, "NAME": 23, "BACKWARD": 5, "NODE": 30, "GRAD": 35, "EVENT": 10,
        "ERROR": 2, "LINK": 7, "CHANGE": 13, "LOOK": 3,
    },
}  # fmt: skip
TOLD = [
    ("GP202", "gate.mul_(2)", {"gate"}),
    ("GP101", "h = torch.tanh(self.encoder(x)).detach()",
     {"model.encoder.weight", "model.encoder.bias"}),
    ("GP104", "scale = self.log_scale.exp().item()", {"model.log_scale"}),
    ("GP302", "gap = (model.head.bias - model.head.bias.detach()).pow(2).sum().sqrt()",
     {"model.head.bias"}),
    ("GP106", "self.spare = nn.Linear(4, 1)", {"model.spare.weight", "model.spare.bias"}),
]  # fmt: skip


@pytest.mark.parametrize("release", sorted(path.stem for path in FOLDER.glob("*.gpm")))
def test_an_earlier_trace_is_read_whole(release: str) -> None:
    path = FOLDER / f"{release}.gpm"
    assert path.stat().st_size < 60 << 10
    trace = Trace(path)
    assert trace.meta["gradpm"] == release
    rows = {table.name: len(trace.table(table)) for table in Table}
    assert {name: count for name, count in rows.items() if count} == ROWS[release]
    for table in Table:
        known = COLUMNS[table]
        for name in trace.reader.names(table):
            assert name in known, f"{table.name}.{name} has lost its meaning"
            assert len(trace.reader.column(table, name, known[name], fill=False)) or "*" in name
    assert trace.reader.sealed
    assert trace.reader.damage == []
    trace.close()


@pytest.mark.parametrize("release", sorted(ROWS))
def test_an_earlier_trace_is_still_understood(release: str) -> None:
    trace = Trace(FOLDER / f"{release}.gpm")
    told = diagnose(trace)
    assert [
        (f.code, f.culprit and f.culprit.source, {subject.name for subject in f.subjects})
        for f in told.findings
    ] == TOLD
    assert told.run["exception"]["type"] == "RuntimeError"
    assert [call["loss"] is not None for call in told.backwards] == [True] * 5
    trace.close()


def test_it_can_be_passed_on_and_opened_elsewhere(tmp_path: Path) -> None:
    ran = under(["check", str(FOLDER / "0.1.0.gpm")], tmp_path)
    assert (ran.status, ran.err) == (1, "")
    assert all(code in ran.out for code, _, _ in TOLD)
