"""Reports to test the forms with: made by hand, hostile, and recorded from examples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from launching import ROOT, under

from gradpm.diagnose import Finding, Location, Severity, Step, Subject
from gradpm.report.view import Run

HOSTILE = (
    "\x1b[2J\x9b31m\x07<script>alert(1)</script><img src=x onerror=alert(2)>\u202e\u2028\ud800\x00"
    "](http://evil.example) ![p](http://evil.example/p.png) [link](javascript:alert(3)) {0} | ``x` "
    "\"quoted\" & 'single' @someone **bold** \r\n# heading\n- item\n```\n"
)


def finding(text: str = "encoder.weight") -> Finding:
    """A finding in which every string is `text`, or holds it."""
    place = Location("culprit", f"/home/{text}.py", 3, 3, 5, 9, text, f"h = x.detach()  # {text}")
    other = replace(place, role=text, line=9, end_line=9)
    path = (
        Step("parameter", text, "[4, 4]", place),
        Step("gap", "7 more ops"),
        Step("cut", text, text, place),
        Step("loss", text, "", other),
    )
    return Finding(
        "GP101", "detached", Severity.ERROR, f"`{text}` got no gradient {text}",
        f"why: {text}", f"use `{text}`", (Subject("parameter", text, (4, 4), "float32"),),
        (place, other), path, 1, 2,
    )  # fmt: skip


def run_of(*findings: Finding, text: str = "train.py", **facts: Any) -> Run:
    known = {
        "script": text, "argv": [text], "exit_code": None,
        "exception": {"type": "RuntimeError", "message": text}, "torch": "2.13.0",
        "python": "3.11.7", "device": "cpu", "rank": None, "seconds": 1.5, "backwards": 1,
        "steps": 1, "ops": 40, "cut_off": True,
        "dropped": {"ops": 2, "damaged": 1, "stopped": text}, **facts,
    }  # fmt: skip
    call = {
        "number": 1, "kind": "backward", "file": text, "line": 9, "loss": 0.5, "raised": True,
        "nodes": 12, "milliseconds": 0.1, "kept": "full", "parameters": 4, "none": 2, "zero": 0,
        "nonfinite": 1,
    }  # fmt: skip
    return Run((Path("t.gpm"),), findings, known, (call,))


def record(folder: Path, name: str) -> Path:
    """The trace of one example."""
    trace, script = folder / f"{name}.gpm", ROOT / f"examples/{name}.py"
    under(["run", "--output", str(trace), str(script)], folder, OMP_NUM_THREADS="1")
    return trace
