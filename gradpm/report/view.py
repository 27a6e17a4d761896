"""The one view model that all forms of the report are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradpm.diagnose import Diagnosis, Finding, diagnose
from gradpm.trace.model import Trace


@dataclass(frozen=True)
class Run:
    """One run: its traces (one per rank or process) and what is said of them together."""

    paths: tuple[Path, ...]
    findings: tuple[Finding, ...]
    run: dict[str, Any]
    backwards: tuple[dict[str, Any], ...]
    ranks: tuple[Diagnosis, ...] = field(default_factory=tuple)


def read_all(paths: Sequence[Path]) -> Run:
    """Read and diagnose every trace; the same finding on several ranks is told once."""
    diagnoses = []
    for path in paths:
        trace = Trace(path)
        try:
            diagnoses.append(diagnose(trace))
        finally:
            trace.close()
    findings: dict[tuple[Any, ...], Finding] = {}
    for diagnosis in diagnoses:
        for finding in diagnosis.findings:
            place = finding.culprit
            names = tuple(sorted(subject.name for subject in finding.subjects))
            where = (place.file, place.line) if place else ("", 0)
            findings.setdefault((finding.code, where, names), finding)
    ordered = sorted(findings.values(), key=lambda finding: -finding.severity)
    main = diagnoses[0] if diagnoses else Diagnosis(())
    run = dict(main.run)
    if len(diagnoses) > 1:
        run["traces"] = [str(path) for path in paths]
    return Run(tuple(paths), tuple(ordered), run, main.backwards, tuple(diagnoses))
