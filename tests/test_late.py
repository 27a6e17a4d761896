"""Gradients on a device: nobody waits for their norms, and every one of them is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from launching import ROOT

from gradpm.diagnose import Severity
from gradpm.report.view import read_all
from gradpm.trace.model import Trace
from gradpm.trace.schema import Call, GradState, Table

SCRIPT = ROOT / "tests/scripts/on_device.py"


def record(trace: Path, lag: int, bad: int = -1, detail: str = "auto") -> int:
    """Record the script; how often it waited in its last six steps."""
    command = [sys.executable, str(SCRIPT), str(trace), str(lag), str(bad), detail]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return int(told.stdout.split()[0])


def rows(trace: Path) -> dict[tuple[int, int], tuple[GradState, float]]:
    """(state, norm) of every gradient, by backward and leaf."""
    columns = Trace(trace).table(Table.GRAD)
    names = ("backward", "leaf", "state", "norm")
    found = list(zip(*(columns[name] for name in names), strict=True))
    assert len({row[:2] for row in found}) == len(found)
    return {row[:2]: (GradState(row[2]), row[3]) for row in found}


@pytest.mark.parametrize("lag", [1, 5])
def test_a_lagging_device_tells_the_same_a_little_later(lag: int, tmp_path: Path) -> None:
    host, device = tmp_path / "host.gpm", tmp_path / "device.gpm"
    record(host, 0)
    assert record(device, lag) == 0
    expected, found = rows(host), rows(device)
    assert len(expected) == 160
    assert found.keys() == expected.keys()
    for which, (state, norm) in expected.items():
        assert found[which] == (state, pytest.approx(norm, rel=1e-5))


def test_a_device_that_never_tells_is_read_at_the_end_or_said_to_be_unread(tmp_path: Path) -> None:
    trace = tmp_path / "t.gpm"
    assert record(trace, -1) == 0
    states = [state for state, _ in rows(trace).values()]
    assert states.count(GradState.UNREAD) > 60
    assert states.count(GradState.FINITE) >= 8 * 4
    found = read_all([trace]).findings
    assert [finding for finding in found if finding.severity is not Severity.NOTE] == []


def test_bad_numbers_are_told_late_and_the_next_call_is_looked_at_in_full(tmp_path: Path) -> None:
    trace = tmp_path / "t.gpm"
    record(trace, 2, bad=20)
    columns = Trace(trace).table(Table.BACKWARD)
    full = [number for number, flags in zip(columns["number"], columns["flags"], strict=True)
            if flags & Call.FULL]  # fmt: skip
    assert any(20 < number < 26 for number in full)
    bad = {number for (number, _), (state, _) in rows(trace).items() if state is GradState.NAN}
    assert min(bad) == 21
    (told,) = [one for one in read_all([trace]).findings if one.severity is Severity.ERROR]
    assert told.code == "GP301"
    assert "was not seen" in told.title
    assert "--detail full" in told.fix


def test_in_full_detail_the_device_is_waited_for_and_the_line_is_known(tmp_path: Path) -> None:
    trace = tmp_path / "t.gpm"
    assert record(trace, 2, bad=20, detail="full") > 0
    (told,) = [one for one in read_all([trace]).findings if one.severity is Severity.ERROR]
    line = next(n for n, text in enumerate(SCRIPT.read_text().splitlines(), 1)
                if "optimizer.step()" in text)  # fmt: skip
    assert told.code == "GP301"
    assert told.culprit is not None and told.culprit.line == line
