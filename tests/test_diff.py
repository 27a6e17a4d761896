"""`gradpm diff`: did the fix work? Said of real runs, never more than both traces show."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from json_schema import faults
from launching import ROOT, under
from reports import HOSTILE, finding, run_of

from gradpm.diagnose import Severity
from gradpm.errors import GradpmError
from gradpm.report import compared
from gradpm.report.diff.forms import render_as
from gradpm.report.diff.gradients import Fate, Gradients
from gradpm.report.diff.lines import mapped, same_lines, unified
from gradpm.report.diff.matching import Matcher, Where
from gradpm.report.diff.outcome import Outcome, judge
from gradpm.report.diff.parameters import changes_of
from gradpm.report.diff.side import Side
from gradpm.report.diff.sources import Sources

CUT = "self.last_hidden = h.detach()"
EDITS: dict[str, tuple[str, str, str]] = {  # name -> example, what is replaced, by what
    "before": ("01_detached", "", ""),
    "mended": ("01_detached", CUT, "self.last_hidden = h"),
    "moved": ("01_detached", "import torch\n", "import torch\n\n# a remark\n"),
    "partly": ("01_detached", "torch.tanh(self.mix(self.words(text)))", "self.enter(text)"),
    "other": ("01_detached", CUT, "with torch.no_grad():\n            self.last_hidden = h * 1"),
    "broken": ("01_detached", "    optimizer.zero_grad()\n", "    raise ValueError(text.shape)\n"),
    "piling": ("01_detached", "    optimizer.zero_grad()\n", ""),
    "renamed": ("01_detached", "model", "tagger"),
    "program": ("12_not_zeroed", "", ""),
}
ENTER = """    def enter(self, text):
        return torch.tanh(self.mix(self.words(text).detach()))

    def remember(self, h):
        return h

    def unused(self, h):"""


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One trace of each edit of an example, all recorded as `train.py`."""
    found = {}
    for name, (example, old, new) in EDITS.items():
        folder = tmp_path_factory.mktemp(name)
        source = (ROOT / f"examples/{example}.py").read_text()
        assert old in source
        source = source.replace(old, new) if old else source
        if name == "partly":
            source = source.replace("    def remember(self, h):", ENTER)
        script = "other.py" if name == "program" else "train.py"
        (folder / script).write_text(source)
        under(["run", "--quiet", "-o", "t.gpm", script], folder, OMP_NUM_THREADS="1")
        found[name] = folder / "t.gpm"
    return found


def diff(traces: dict[str, Path], before: str, after: str, *words: str) -> tuple[int, str]:
    """Exit code and output of the command."""
    ran = under(["diff", str(traces[before]), str(traces[after]), *words], ROOT)
    assert ran.err == ""
    return ran.status, ran.out


def test_a_fix_that_worked(traces: dict[str, Path]) -> None:
    status, told = diff(traces, "before", "mended")
    assert status == 0
    assert told.startswith("The fix worked: GP101 of 3 parameters is gone, nothing is new.\n")
    now = "3 parameters, a gradient now, None before: model.words.weight, model.mix.weight"
    assert now in told
    assert "\n-        self.last_hidden = h.detach()\n+        self.last_hidden = h\n" in told
    assert re.search(r"^engine calls +20 +20$", told, re.MULTILINE)


def test_a_fix_undone_is_worse(traces: dict[str, Path]) -> None:
    status, told = diff(traces, "mended", "before")
    assert status == 1
    assert told.startswith("GP101 of 3 parameters is new.\n")
    assert "3 parameters, None now, a gradient before: model.words.weight" in told
    assert "fix  write `h` instead of `h.detach()`" in told


def test_an_edit_elsewhere_moves_the_line_and_mends_nothing(traces: dict[str, Path]) -> None:
    status, told = diff(traces, "before", "moved")
    assert status == 0
    first = "Nothing was mended: GP101 of 3 parameters (now at train.py:26, line 24 before) is"
    assert told.startswith(first)
    assert "the same line: train.py:26 now, train.py:24 before" in told


def test_the_same_trace_twice_is_no_difference(traces: dict[str, Path]) -> None:
    status, told = diff(traces, "before", "before")
    assert status == 0
    assert told.startswith("No difference: GP101 of 3 parameters is still there.\n")
    status, told = diff(traces, "mended", "mended")
    assert status == 0
    assert told.startswith("No difference: nothing is wrong, as nothing was before.\n")


def test_another_cut_that_starves_fewer_is_a_fix_in_part(traces: dict[str, Path]) -> None:
    status, told = diff(traces, "before", "partly")
    assert status == 0
    assert told.startswith("The fix worked in part: GP101 of `model.words.weight` (now by train.py")
    assert "2 others came free" in told.replace("\n", " ")
    assert "another line: train.py:" in told
    assert "no more: model.mix.weight, model.mix.bias" in told


def test_another_reason_for_the_same_effect(traces: dict[str, Path]) -> None:
    status, told = diff(traces, "before", "other")
    assert status == 1
    told = told.replace("\n", " ")
    assert told.startswith("The cause changed, the effect did not: GP101 of 3 parameters is gone, ")
    assert "but GP102 of 3 parameters is new." in told


def test_a_run_that_ended_before_it_could_show_the_fault_proves_nothing(
    traces: dict[str, Path],
) -> None:
    status, told = diff(traces, "before", "broken")
    assert status == 1
    told = told.replace("\n", " ")
    assert "GP101 of 3 parameters is not seen any more, but that proves nothing: " in told
    assert "the run after ended by ValueError" in told
    assert "made no engine call" in told


def test_mended_here_broken_there(traces: dict[str, Path]) -> None:
    status, told = diff(traces, "mended", "piling")
    assert status == 1
    assert "GP403" in told.splitlines()[0] and "GP101" in told.splitlines()[0]


def test_a_model_under_another_name_is_the_same(traces: dict[str, Path]) -> None:
    _, told = diff(traces, "before", "renamed", "--format", "json")
    found = json.loads(told)
    assert found["outcome"] == "kept"
    assert {"before": "model.mix.bias", "after": "tagger.mix.bias"} in found["parameters"][
        "renamed"
    ]
    assert found["parameters"]["only_after"] == []


def test_another_program_is_said_to_be_one(traces: dict[str, Path]) -> None:
    status, told = diff(traces, "before", "program")
    assert status == 1
    told = told.replace("\n", " ")
    assert "two programs: train.py and other.py have no parameter in common" in told


def test_the_level_that_counts_is_asked_for(traces: dict[str, Path]) -> None:
    before, after = compared([traces["mended"]], [traces["mended"]]), finding()
    warning = replace(after, severity=Severity.WARNING)
    before.findings.new.append(warning)
    assert before.is_worse(Severity.WARNING)
    assert not before.is_worse(Severity.ERROR)


def _schema() -> dict[str, Any]:
    """The published schema, with the report's where it points there."""
    folder = resources.files("gradpm.report")
    text = (folder / "diff" / "schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text.replace('"../schema.json#', '"#'))
    report = json.loads((folder / "schema.json").read_text(encoding="utf-8"))
    assert all(schema["$defs"].get(name, d) == d for name, d in report["$defs"].items())
    schema["$defs"] = {**report["$defs"], **schema["$defs"]}
    return schema


def test_the_json_is_as_the_published_schema_says(traces: dict[str, Path]) -> None:
    schema = _schema()
    outcomes = set()
    for before in traces:
        for after in ("before", "mended", "moved", "partly", "other"):
            told = render_as(compared([traces[before]], [traces[after]]), "json")
            found = json.loads(told)
            assert list(faults(found, schema, schema)) == []
            outcomes.add(found["outcome"])
    assert outcomes == {"mended", "partly", "kept", "worse", "well", "unclear"}
    found.pop("verdict")
    assert list(faults(found, schema, schema))


def test_flipped_bytes_give_a_comparison_or_a_sentence(
    traces: dict[str, Path], tmp_path: Path
) -> None:
    whole = traces["before"].read_bytes()
    turn = random.Random(7)
    spoilt = tmp_path / "spoilt.gpm"
    refused = 0
    for _ in range(60):
        flipped = bytearray(whole)
        for _ in range(turn.choice((1, 20))):
            flipped[turn.randrange(len(flipped))] ^= 1 << turn.randrange(8)
        spoilt.write_bytes(flipped)
        try:
            told = render_as(compared([traces["before"]], [spoilt]), "text", 80)
            assert told
        except GradpmError as error:
            refused += 1
            assert "spoilt.gpm" in error.sentence
    assert refused < 60


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["{t}", "nowhere.gpm"], 72, "nowhere.gpm does not exist"),
        (["nowhere.gpm", "{t}"], 72, "nowhere.gpm does not exist"),
        (["{t}", "text.gpm"], 76, "text.gpm"),
        (["text.gpm", "{t}"], 76, "text.gpm"),
        (["{t}", "empty.gpm"], 74, "empty.gpm"),
        (["{t}"], 64, "AFTER"),
        (["{t}", "{t}", "--format", "html"], 64, "html"),
    ],
)
def test_what_cannot_be_compared_is_a_sentence_that_names_the_file(
    traces: dict[str, Path], tmp_path: Path, words: list[str], code: int, told: str
) -> None:
    (tmp_path / "text.gpm").write_text("no trace at all" * 10)
    (tmp_path / "empty.gpm").touch()
    ran = under(["diff", *(word.format(t=traces["before"]) for word in words)], tmp_path)
    assert (ran.status, ran.out) == (code, "")
    assert told in ran.err.splitlines()[0]


@pytest.mark.parametrize("columns", [50, 80, 96])
def test_prose_is_folded_to_the_terminal(traces: dict[str, Path], columns: int) -> None:
    told = render_as(compared([traces["before"]], [traces["other"]]), "text", columns)
    prose = told.partition("                 before")[0]
    code = ("/", "self.last", "^^^")
    lines = [line for line in prose.splitlines() if not line.strip().startswith(code)]
    assert len(lines) > 4
    assert all(len(line) <= columns for line in lines)


def test_colour_only_when_asked_for(traces: dict[str, Path]) -> None:
    found = compared([traces["before"]], [traces["mended"]])
    plain, coloured = render_as(found, "text"), render_as(found, "text", color=True)
    assert "\x1b" not in plain
    assert "\x1b[32m+        self.last_hidden = h\x1b[0m" in coloured
    assert re.sub("\x1b\\[[0-9;]*m", "", coloured) == plain


def side(*found: Any, parameters: tuple[str, ...] = (), text: str = "", **run: Any) -> Side:
    """A run made by hand."""
    known = {"exception": None, "cut_off": False, "dropped": {}, **run}
    gradients = {n: Gradients(n, n, (2,), 1 << 1, True, {0: 1.0}) for n in parameters}
    lines = {"/home/train.py": text.split("\n")} if text else {}
    return Side(run_of(*found, **known), gradients, lines)


def verdict(before: Side, after: Side) -> tuple[Outcome, str]:
    changes = changes_of(before, after)
    known = set(before.gradients), set(after.gradients)
    matcher = Matcher(Sources(before, after), changes.renamed, known)
    found = matcher.match(before.run.findings, after.run.findings)
    judged = judge(before, after, found.at_least(Severity.WARNING), changes)
    return judged.outcome, judged.verdict


def of(*names: str, at: int = 3, code: str = "GP101") -> Any:
    """A finding on these parameters at a line."""
    one = finding()
    subjects = tuple(replace(one.subjects[0], name=name) for name in names)
    place = replace(one.locations[0], file="/home/train.py", line=at, source="")
    return replace(one, code=code, subjects=subjects, locations=(place,))


def test_one_cause_told_as_two_is_still_there() -> None:
    before = side(of("a", "b", at=3), parameters=("a", "b"))
    after = side(of("a", at=3), of("b", at=9), parameters=("a", "b"))
    assert verdict(before, after)[0] is Outcome.KEPT
    assert verdict(after, before)[0] is Outcome.KEPT


def test_a_cause_that_spreads_is_worse_unless_the_model_grew() -> None:
    before = side(of("a"), parameters=("a", "b"))
    assert verdict(before, side(of("a", "b"), parameters=("a", "b")))[0] is Outcome.WORSE
    grown = side(of("a", "c"), parameters=("a", "b", "c"))
    assert verdict(before, grown)[0] is Outcome.KEPT


def test_doubts_are_spoken_out() -> None:
    before = side(replace(of("a"), backward=5), parameters=("a",))
    outcome, told = verdict(before, side(parameters=("a",)))
    assert outcome is Outcome.UNCLEAR
    assert "the run after made 1 engine call, and GP101 came in number 5" in told
    outcome, told = verdict(before, side(parameters=("a",), cut_off=True))
    assert "killed or still runs" in told
    outcome, told = verdict(side(exception={"type": "E", "message": ""}), side())
    assert (outcome, "does not end by E any more" in told) == (Outcome.MENDED, True)


def test_notes_are_no_reason_to_worry() -> None:
    note = replace(of("a"), severity=Severity.NOTE)
    assert verdict(side(), side(note))[0] is Outcome.WELL


def test_the_same_line_is_found_again_however_far_it_moved() -> None:
    lines = [f"line {n}" for n in range(50)]
    text, longer = "\n".join(lines), "\n".join([*(f"new {n}" for n in range(30)), *lines])
    before, after = side(text=text), side(text=longer)
    sources = Sources(before, after)
    one, two = of("a", at=7).culprit, of("a", at=37).culprit
    assert sources.is_same(one, two)
    assert not sources.is_same(one, of("a", at=7).culprit)
    matcher = Matcher(sources, {}, (set(), set()))
    kept = matcher.match([of("a", at=7)], [of("b", at=37)]).kept
    assert [one.where for one in kept] == [Where.MOVED]


def test_hostile_text_never_reaches_the_terminal(tmp_path: Path) -> None:
    before = side(of("a"), of(HOSTILE, code="GP102"), parameters=("a", HOSTILE), text=HOSTILE * 3)
    after = side(of("b"), parameters=("b", HOSTILE), text="other\n" + HOSTILE, script=HOSTILE)
    changes = changes_of(before, after)
    found = Matcher(Sources(before, after), {}, (set(), set())).match(
        before.run.findings, after.run.findings
    )
    from gradpm.report.diff.difference import Difference

    told = Difference(
        before, after, found, changes, Sources(before, after), Outcome.WORSE, HOSTILE
    )  # fmt: skip
    for form in ("text", "json"):
        shown = render_as(told, form)
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\u2028\ud800]", shown)
        shown.encode("utf-8")
        assert "alert(1)" in shown


def test_what_a_gradient_was_at_best() -> None:
    bits = {"none": 1, "zero": 1 << 2, "gradient": 1 << 1 | 1, "nonfinite": 1 << 3 | 1 << 1}
    for name, states in bits.items():
        assert Gradients("a", "a", (), states, True).fate is Fate(name)
    assert Gradients("a", "a", (), 1, False).fate is Fate.FROZEN
    assert Gradients("a", "a", ()).fate is Fate.UNSEEN


def patched(before: list[str], hunks: list[str]) -> list[str]:
    """What `patch` makes of the lines."""
    made: list[str] = []
    at = 0
    for hunk in hunks:
        if hunk.startswith("@@"):
            first, count = map(int, hunk.split()[1][1:].split(","))
            start = first - 1 if count else first
            made += before[at:start]
            at = start
            continue
        if hunk[0] in " -":
            assert before[at] == hunk[1:]
            at += 1
        if hunk[0] in " +":
            made.append(hunk[1:])
    return made + before[at:]


def test_the_hunks_make_the_one_source_of_the_other() -> None:
    turn = random.Random(3)
    for _ in range(500):
        words = [str(n) for n in range(turn.choice((2, 5, 60)))]
        before = turn.choices(words, k=turn.randrange(40))
        after = list(before)
        for _ in range(turn.randrange(6)):
            at = turn.randrange(len(after) + 1)
            after[at : at + turn.randrange(3)] = turn.choices(words, k=turn.randrange(3))
        same = same_lines(before, after)
        assert patched(before, list(unified(before, after, same))) == after
        for line in range(1, len(before) + 1):
            now = mapped(same, line)
            assert not now or before[line - 1] == after[now - 1]


def test_no_source_makes_the_comparison_slow() -> None:
    import time

    began = time.process_time()
    for one, two in (
        (["x"] * 60_000, ["x"] * 50_000),
        ([str(n % 150) for n in range(20_000)], [str(n * 7 % 150) for n in range(20_000)]),
        ([str(n) for n in range(50_000)], [str(n) for n in range(50_000, 0, -1)]),
    ):
        assert same_lines(one, two)
    assert time.process_time() - began < 5
