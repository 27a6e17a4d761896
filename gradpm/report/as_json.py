"""The report as JSON, with exactly the published field names."""

from __future__ import annotations

import json
import math
from typing import Any

from gradpm import __version__
from gradpm.diagnose import Finding, Location, Step, Subject
from gradpm.report.view import Run


def to_json(run: Run) -> str:
    """The whole report, most severe finding first; ASCII, so that no terminal acts on it."""
    told = {
        "gradpm": __version__,
        "format": 1,
        "run": run.run,
        "backwards": list(run.backwards),
        "findings": [finding_object(finding) for finding in run.findings],
    }
    return json.dumps(finite(told), indent=1, allow_nan=False)


def finite(value: Any) -> Any:
    """The same, with null for NaN and infinities, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def finding_object(finding: Finding) -> dict[str, Any]:
    """One finding."""
    return {
        "code": finding.code,
        "name": finding.name,
        "severity": str(finding.severity),
        "title": finding.title,
        "explanation": finding.explanation,
        "fix": finding.fix,
        "subjects": [_subject(subject) for subject in finding.subjects],
        "locations": [_location(location) for location in finding.locations],
        "path": [_step(step) for step in finding.path],
        "backward": finding.backward,
        "backwards": finding.backwards,
    }


def _subject(subject: Subject) -> dict[str, Any]:
    shape = list(subject.shape) if subject.shape is not None else None
    return {"kind": subject.kind, "name": subject.name, "shape": shape, "dtype": subject.dtype}


def _location(location: Location) -> dict[str, Any]:
    return {
        "role": location.role,
        "file": location.file,
        "line": location.line,
        "end_line": location.end_line,
        "column": location.column,
        "end_column": location.end_column,
        "function": location.function,
        "source": location.source,
    }


def _step(step: Step) -> dict[str, Any]:
    return {
        "kind": step.kind,
        "label": step.label,
        "detail": step.detail,
        "location": _location(step.location) if step.location is not None else None,
    }
