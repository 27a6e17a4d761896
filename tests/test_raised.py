"""Each script raises; the finding names the line to change, the second line, and the tensor."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from judged import findings_of
from launching import under

SCRIPTS = Path(__file__).parent / "scripts" / "raised"

EXPECTED = {  # script -> (code, severity, a subject)
    "inplace_sigmoid": ("GP202", "error", "h"),
    "inplace_optimizer": ("GP202", "error", "body.weight"),
    "inplace_closure": ("GP202", "error", "theta"),
    "inplace_out": ("GP202", "error", "work"),
    "inplace_swallowed": ("GP202", "warning", "probs"),
    "leaf": ("GP203", "error", "bias"),
    "freed_state": ("GP204", "error", "scale"),
    "freed_shared": ("GP204", "error", "code"),
    "freed_collected": ("GP204", "error", "log_prob"),
    "freed_baseline": ("GP204", "error", "baseline"),
    "freed_fake": ("GP204", "error", "fake"),
    "freed_force": ("GP204", "error", "energy"),
    "inplace_helper": ("GP202", "error", "v"),
    "inplace_state": ("GP202", "error", "state"),
    "late_requires": ("GP208", "error", "mix"),
    "checkpoint_skip": ("GP214", "error", ""),
    "mismatch_module": ("GP215", "error", "x"),
    "mismatch_every": ("GP215", "warning", "x"),
    "non_scalar": ("GP205", "error", "loss"),
    "views": ("GP206", "error", "gate"),
    "bad_gradient": ("GP207", "error", "scale"),
    "raised_inside": ("GP207", "error", "alpha"),
    "bad_hook": ("GP207", "error", "first.weight"),
    "unused_input": ("GP208", "error", "z"),
    "no_second_derivative": ("GP209", "error", "layer.weight"),
    "integer_leaf": ("GP210", "error", "time"),
    "numpy_deepcopy": ("GP212", "error", "model.cache"),
    "inference": ("GP213", "error", "features"),
    "checkpoint": ("GP214", "error", ""),
    "mismatch_late": ("GP215", "error", "target"),
    "mismatch_shape": ("GP215", "error", "fc.weight"),
    "ddp": ("GP216", "error", "extra.weight"),
}


def _marked(name: str, mark: str) -> int:
    lines = (SCRIPTS / f"{name}.py").read_text().splitlines()
    return next((n for n, line in enumerate(lines, 1) if line.endswith(f"# {mark}")), 0)


def _port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every script's report, run two at a time."""
    folder = tmp_path_factory.mktemp("raised")

    def run(name: str) -> dict[str, Any]:
        trace = str(folder / f"{name}.gpm")
        words = ["run", "--quiet", "--output", trace, str(SCRIPTS / f"{name}.py")]
        under(words, folder, OMP_NUM_THREADS="1", TEST_PORT=_port())
        told = under(["report", "--format", "json", trace], folder)
        return json.loads(told.out)

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(EXPECTED, pool.map(run, EXPECTED), strict=True))


def _finding(reports: dict[str, Any], name: str) -> dict[str, Any]:
    code = EXPECTED[name][0]
    return next((f for f in reports[name]["findings"] if f["code"] == code), {})


@pytest.mark.parametrize("name", EXPECTED)
def test_the_first_location_is_the_line_to_change(reports: dict[str, Any], name: str) -> None:
    finding = _finding(reports, name)
    assert finding, reports[name]["findings"]
    assert finding["severity"] == EXPECTED[name][1]
    assert finding["locations"][0]["line"] == _marked(name, "culprit"), finding["title"]


@pytest.mark.parametrize("name", [name for name in EXPECTED if _marked(name, "second")])
def test_the_second_line_is_told_too(reports: dict[str, Any], name: str) -> None:
    lines = [location["line"] for location in _finding(reports, name)["locations"]]
    assert _marked(name, "second") in lines


@pytest.mark.parametrize("name", [name for name in EXPECTED if EXPECTED[name][2]])
def test_the_tensor_is_named_as_the_user_names_it(reports: dict[str, Any], name: str) -> None:
    names = [subject["name"] for subject in _finding(reports, name)["subjects"]]
    wanted = EXPECTED[name][2]
    assert any(n == wanted or n.endswith(f".{wanted}") for n in names), names


@pytest.mark.parametrize("name", EXPECTED)
def test_nothing_else_is_blamed(reports: dict[str, Any], name: str) -> None:
    loud = [f["code"] for f in reports[name]["findings"] if f["severity"] != "note"]
    assert loud == [EXPECTED[name][0]]


def test_versions_are_told(reports: dict[str, Any]) -> None:
    assert (
        "version 0 was saved, version 1 was found"
        in (_finding(reports, "inplace_out")["explanation"])
    )


def test_an_optimizer_between_two_backwards_is_told_with_the_order_that_cures_it(
    reports: dict[str, Any],
) -> None:
    finding = _finding(reports, "inplace_optimizer")
    assert "critic_opt.step()" in finding["title"]
    assert "after the last" in finding["fix"]


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("freed_state", "self.scale = self.scale.detach()"),
        ("freed_baseline", "`baseline = baseline.detach()`"),
        ("freed_fake", "hand `fake.detach()` to"),
        ("freed_force", "pass retain_graph=True to autograd.grad()"),
        ("freed_shared", "call backward() once"),
        ("freed_collected", "empty `memory`"),
    ],
)
def test_the_cure_fits_the_way_it_was_carried(
    reports: dict[str, Any], name: str, cure: str
) -> None:
    assert cure in _finding(reports, name)["fix"]


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("inplace_helper", "`v = v / (length + eps)`"),
        ("inplace_state", "`self.state = torch.tanh(drive).clone()`"),
        ("late_requires", "before `mix` is used"),
        ("mismatch_every", "`x.float()`"),
    ],
)
def test_the_cure_is_written_as_the_line_is(reports: dict[str, Any], name: str, cure: str) -> None:
    assert cure in _finding(reports, name)["fix"]


def test_versions_are_read_behind_a_node_of_the_c_namespace(reports: dict[str, Any]) -> None:
    assert "version 2 was saved" in _finding(reports, "inplace_state")["explanation"]


def test_exceptions_that_tests_expect_through_one_helper_are_notes(tmp_path: Path) -> None:
    assert findings_of("raised/expected_by_tests", tmp_path) == []


def test_trying_numpy_and_falling_back_is_a_note(reports: dict[str, Any]) -> None:
    notes = [f["severity"] for f in reports["numpy_deepcopy"]["findings"] if f["code"] == "GP211"]
    assert notes in ([], ["note"])


def test_a_swallowed_exception_is_told_as_such(reports: dict[str, Any]) -> None:
    assert "caught the exception" in _finding(reports, "inplace_swallowed")["explanation"]
