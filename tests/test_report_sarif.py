"""The SARIF form: rules, places, flows and messages as code scanning reads them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from launching import ROOT
from reports import finding, record, run_of

from gradpm.diagnose import Location
from gradpm.report import render
from gradpm.report.as_sarif import to_sarif


def test_sarif_has_what_code_scanning_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    log = json.loads(render([record(tmp_path, "01_detached")], "sarif"))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    (rule,) = run["tool"]["driver"]["rules"]
    assert (rule["id"], rule["name"]) == ("GP101", "Detached")
    assert rule["help"]["markdown"].startswith("# GP101 detached")
    (result,) = run["results"]
    assert (result["ruleId"], result["ruleIndex"], result["level"]) == ("GP101", 0, "error")
    (place,) = result["locations"]
    physical = place["physicalLocation"]
    assert physical["artifactLocation"] == {
        "uri": "examples/01_detached.py",
        "uriBaseId": "%SRCROOT%",
    }
    line = (ROOT / "examples/01_detached.py").read_text().splitlines()
    region = physical["region"]
    assert line[region["startLine"] - 1].strip() == "self.last_hidden = h.detach()"
    assert result["codeFlows"][0]["threadFlows"][0]["locations"]
    assert run["invocations"][0]["executionSuccessful"] is True


def test_sarif_tells_how_the_script_ended() -> None:
    invocation = json.loads(to_sarif(run_of(text="boom", exit_code=3)))["runs"][0]["invocations"]
    assert invocation == [
        {"executionSuccessful": False, "exitCode": 3, "exitCodeDescription": "RuntimeError: boom"}
    ]


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("/a b/ü.py", "file:///a%20b/%C3%BC.py"),
        ("C:\\runs\\train.py", "file:///C:/runs/train.py"),
        ("model.py", "model.py"),
        ("<ipython-input-1>", "%3Cipython-input-1%3E"),
        ("", "unknown"),
    ],
)
def test_sarif_names_files_by_uri(path: str, uri: str) -> None:
    found = replace(finding(), locations=(Location("culprit", path, 3),), path=())
    (result,) = json.loads(to_sarif(run_of(found)))["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == uri


def test_sarif_messages_are_plain_and_fingerprints_follow_the_code_not_the_line() -> None:
    first = finding("a [b] {0}")
    moved = replace(first, locations=tuple(replace(at, line=at.line + 7) for at in first.locations))
    logs = [json.loads(to_sarif(run_of(one)))["runs"][0]["results"][0] for one in (first, moved)]
    assert "a \\[b\\] {{0}}" in logs[0]["message"]["text"]
    assert logs[0]["partialFingerprints"] == logs[1]["partialFingerprints"]
    other = json.loads(to_sarif(run_of(finding("other"))))["runs"][0]["results"][0]
    assert other["partialFingerprints"] != logs[0]["partialFingerprints"]


def test_sarif_gives_columns_only_where_they_are_sure() -> None:
    for source, expected in (("h = x.detach()", 5), ("ü = x.detach()", None)):
        place = Location("culprit", "m.py", 3, 3, 5, 9, "f", source)
        log = json.loads(to_sarif(run_of(replace(finding(), locations=(place,), path=()))))
        region = log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"]
        assert region.get("startColumn") == expected
