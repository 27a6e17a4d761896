"""Each example does what its header says without gradpm, and gradpm names its line."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from launching import GRADPM, ROOT, execute, under

from gradpm.report.view import read_all

FOLDER = ROOT / "examples"


@dataclass(frozen=True)
class Told:
    """What gradpm must say of an example: code, the culprit's source line, whom it explains."""

    code: str
    line: str
    subjects: frozenset[str]
    raises: bool = False


def told(code: str, line: str, subjects: str, raises: bool = False) -> Told:
    return Told(code, line, frozenset(subjects.split()), raises)


EXPECTED = {
    "01_detached": told(
        "GP101", "self.last_hidden = h.detach()",
        "model.words.weight model.mix.weight model.mix.bias",
    ),
    "02_leaf_inplace": told("GP203", "weight.clamp_(-limit, limit)", "critic.0.weight", raises=True),
    "03_comparison": told(
        "GP103", "keep = (score > 0.5).float()", "model.router.weight model.router.bias"
    ),
    "04_encoder_cut": told(
        "GP101", "h = h.data",
        "model.vision.encoder.stem.weight model.vision.encoder.stem.bias "
        "model.vision.encoder.blocks.0.weight model.vision.encoder.blocks.0.bias "
        "model.vision.encoder.blocks.1.weight model.vision.encoder.blocks.1.bias",
    ),
    "05_no_grad_helper": told(
        "GP102", "z = network(images)",
        "encoder.0.weight encoder.0.bias encoder.2.weight encoder.2.bias",
    ),
    "06_item_round_trip": told(
        "GP104", "scale = min(self.log_scale.exp().item(), 100.0)", "model.log_scale"
    ),
    "07_frozen_backbone": told(
        "GP201", "parameter.requires_grad = False",
        "model.head.weight model.head.bias", raises=True,
    ),
    "08_unused_head": told(
        "GP106", "self.normals = nn.Linear(32, 3)", "model.normals.weight model.normals.bias"
    ),
    "09_inplace_saved": told("GP202", "gate *= mask", "gate", raises=True),
    "10_second_backward": told(
        "GP204", "h, self.state = self.rnn(chunk, self.state)", "model.state", raises=True
    ),
    "11_nan_sqrt": told("GP302", "return difference.pow(2).sum(-1).sqrt()", "layout.0.weight"),
    "12_not_zeroed": told("GP403", "loss.backward()", "model.0.weight model.2.bias"),
}  # fmt: skip


README_SHOWS = dict(
    re.findall(
        r"^    \$ gradpm run examples/(\w+)\.py\n(.*?)(?=    gradpm open)",
        (ROOT / "README.md").read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )
)


def quoted(script: Path) -> list[str]:
    """The indented paragraphs of an example's header: what a person sees, word for word."""
    header = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    paragraphs = header.split("\n\n")
    return [" ".join(p.split()) for p in paragraphs if p.startswith("    ")]


def test_each_example_has_its_row_and_is_short() -> None:
    scripts = {path.stem: path for path in FOLDER.glob("*.py")}
    assert scripts.keys() == EXPECTED.keys() >= README_SHOWS.keys() != set()
    for path in scripts.values():
        assert 20 <= len(path.read_text(encoding="utf-8").splitlines()) <= 45, path.name
        assert quoted(path), f"{path.name} quotes nothing of what a person sees"


def test_the_list_of_examples_is_complete() -> None:
    listed = (FOLDER / "README.md").read_text(encoding="utf-8")
    for name, expected in EXPECTED.items():
        assert f"[{name}.py]({name}.py)" in listed
        row = next(line for line in listed.splitlines() if f"[{name}.py]" in line)
        assert expected.code in row


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_an_example_does_what_its_header_says_and_gradpm_names_its_line(
    name: str, tmp_path: Path
) -> None:
    script, expected = FOLDER / f"{name}.py", EXPECTED[name]
    plain = execute([GRADPM[0], str(script)], tmp_path, OMP_NUM_THREADS="1")
    assert plain.status == (1 if expected.raises else 0), plain.err
    seen = " ".join((plain.out + plain.err).split())
    for quote in quoted(script):
        assert quote in seen
    if not expected.raises:
        assert plain.err == ""

    trace = tmp_path / "t.gpm"
    watched = under(["run", "--output", str(trace), str(script)], tmp_path, OMP_NUM_THREADS="1")
    assert (watched.status, watched.out) == (plain.status, plain.out)
    if name in README_SHOWS:
        told = (watched.out + watched.err).splitlines()
        for line, shown in zip(told, README_SHOWS[name].splitlines(), strict=False):
            assert line == shown[4:] or line.strip().startswith(f"{script}:")
    loud = [f for f in read_all([trace]).findings if str(f.severity) != "note"]
    assert loud, "gradpm says nothing"
    first = loud[0]
    assert first.culprit is not None
    assert (first.code, first.culprit.source) == (expected.code, expected.line)
    assert expected.subjects <= {subject.name for subject in first.subjects}
    assert len(loud) == 1, [f"{f.code} {f.title}" for f in loud]
