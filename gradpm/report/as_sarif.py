"""The report as SARIF 2.1.0: for code scanning and editors.

Each finding is a result; its culprit the location, its other places the related locations, its
path a code flow; each code that occurs a rule, with its page as help.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any
from urllib.parse import quote

from gradpm import __version__
from gradpm.diagnose import Finding, Location, Step
from gradpm.report.pages import page
from gradpm.report.view import Run
from gradpm.trace.text import escape

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
ROOT = "%SRCROOT%"


def to_sarif(run: Run) -> str:
    """The whole log, one run in it."""
    codes = list(dict.fromkeys(finding.code for finding in run.findings))
    log = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": _driver(codes)},
                "originalUriBaseIds": {ROOT: {"uri": Path.cwd().as_uri() + "/"}},
                "invocations": [_invocation(run)],
                "columnKind": "unicodeCodePoints",
                "results": [_result(finding, codes) for finding in run.findings],
            }
        ],
    }
    return json.dumps(log, indent=1, allow_nan=False)


def _driver(codes: Sequence[str]) -> dict[str, Any]:
    return {
        "name": "gradpm",
        "version": __version__,
        "semanticVersion": __version__,
        "rules": [_rule(code) for code in codes],
    }


def _rule(code: str) -> dict[str, Any]:
    help_text = page(code)
    title, _, meaning = help_text.partition("## What it means\n")
    first = meaning.split("\n\n", 1)[0].replace("\n", " ").strip()
    name = title.split(maxsplit=2)[2].strip()
    return {
        "id": code,
        "name": "".join(word.capitalize() for word in name.split("-")),
        "shortDescription": {"text": name},
        "fullDescription": {"text": first},
        "help": {"text": help_text, "markdown": help_text},
    }


def _invocation(run: Run) -> dict[str, Any]:
    """How the watched script ended."""
    status, error = run.run.get("exit_code"), run.run.get("exception")
    told: dict[str, Any] = {"executionSuccessful": not error and status in (None, 0)}
    if isinstance(status, int):
        told["exitCode"] = status
    if error:
        told["exitCodeDescription"] = escape(f"{error.get('type')}: {error.get('message')}")
    return told


def _result(finding: Finding, codes: list[str]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": codes.index(finding.code),
        "level": str(finding.severity),
        "message": {"text": _message(finding)},
        "locations": [_location(place) for place in finding.locations[:1]],
        "partialFingerprints": {"gradpm/v1": _fingerprint(finding)},
    }
    related = [_related(at, place) for at, place in enumerate(finding.locations[1:], 1)]
    if related:
        result["relatedLocations"] = related
    flow = list(_flow(finding.path))
    if flow:
        result["codeFlows"] = [{"threadFlows": [{"locations": flow}]}]
    return result


def _message(finding: Finding) -> str:
    return _plain(f"{finding.title}. {finding.explanation} Fix: {finding.fix}.")


def _plain(text: str) -> str:
    """Message text; SARIF would read brackets as links and braces as places to fill."""
    text = re.sub(r"[\\\[\]]", r"\\\g<0>", escape(text))
    return text.replace("{", "{{").replace("}", "}}")


def _fingerprint(finding: Finding) -> str:
    """The same for the same finding on the same line of code, wherever it has moved to."""
    place = finding.culprit
    where = (place.short().rpartition(":")[0], place.function, place.source) if place else ()
    names = sorted(subject.name for subject in finding.subjects)
    told = json.dumps([finding.code, *where, *names])
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def _location(place: Location) -> dict[str, Any]:
    physical = {"artifactLocation": _artifact(place.file), "region": _region(place)}
    found: dict[str, Any] = {"physicalLocation": physical}
    if place.function:
        named = {"fullyQualifiedName": escape(place.function), "kind": "function"}
        found["logicalLocations"] = [named]
    return found


def _related(number: int, place: Location) -> dict[str, Any]:
    return {"id": number, **_location(place), "message": {"text": _plain(place.role)}}


def _flow(path: Sequence[Step]) -> Iterator[dict[str, Any]]:
    """The steps of the path whose place is known."""
    for step in path:
        if step.location is None:
            continue
        text = f"{step.kind}: {step.label} {step.detail}".strip()
        importance = "essential" if step.kind == "cut" else "important"
        told = {**_location(step.location), "message": {"text": _plain(text)}}
        yield {"location": told, "importance": importance}


def _artifact(path: str) -> dict[str, str]:
    """A file below the current folder relative to it; any other by its full URI."""
    windows = PureWindowsPath(path)
    if windows.drive:
        path = windows.as_posix()
    here = Path.cwd().as_posix().rstrip("/") + "/"
    if path.startswith(here):
        return {"uri": quote(_utf8(path[len(here) :])), "uriBaseId": ROOT}
    if windows.drive:
        return {"uri": "file:///" + quote(_utf8(path), safe="/:")}
    if path.startswith("/"):
        return {"uri": "file://" + quote(_utf8(path))}
    return {"uri": quote(_utf8(path) or "unknown"), "uriBaseId": ROOT}


def _utf8(text: str) -> str:
    """Without lone surrogates, which no encoding takes."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _region(place: Location) -> dict[str, Any]:
    """Lines, and columns where they are sure: recorded ones count bytes of UTF-8."""
    region: dict[str, Any] = {"startLine": max(place.line, 1)}
    if place.end_line > place.line:
        region["endLine"] = place.end_line
    if place.column > 0 and place.source.isascii():
        region["startColumn"] = place.column
        if place.end_column > place.column and place.end_line <= place.line:
            region["endColumn"] = place.end_column
    if place.source:
        region["snippet"] = {"text": escape(place.source)}
    return region
