"""What gradpm says of a marked script: findings worth a word, and the lines its comments mark."""

from __future__ import annotations

import re
from pathlib import Path

from launching import ROOT, under

from gradpm.diagnose import Finding, Severity
from gradpm.report.view import read_all

SCRIPTS = ROOT / "tests/scripts"


def findings_of(script: str, folder: Path) -> list[Finding]:
    """Errors and warnings about one script, `numbers/rounded`."""
    trace, path = folder / "t.gpm", SCRIPTS / f"{script}.py"
    under(["run", "--quiet", "--output", str(trace), str(path)], folder, OMP_NUM_THREADS="1")
    found = read_all([trace]).findings
    return [finding for finding in found if finding.severity is not Severity.NOTE]


def marked(script: str, kind: str) -> int:
    """The line that a comment in the script marks; 0 for none."""
    lines = (SCRIPTS / f"{script}.py").read_text().splitlines()
    return next((n for n, text in enumerate(lines, 1) if re.search(f"<<{kind}", text)), 0)


def assert_told(script: str, code: str, subjects: str, folder: Path) -> Finding:
    """One finding: its code, its line, and the names of what it explains."""
    found = findings_of(script, folder)
    assert [finding.code for finding in found] == [code]
    culprit = found[0].culprit
    assert culprit is not None and culprit.line == marked(script, "culprit")
    assert {subject.name for subject in found[0].subjects} == set(subjects.split())
    second = marked(script, "second")
    assert not second or second in {location.line for location in found[0].locations}
    return found[0]
