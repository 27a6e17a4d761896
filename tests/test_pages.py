"""Every code has a page; its examples run and show what they claim; folklore is put right."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from launching import environment, under

from gradpm.diagnose.catalogue import NAMES
from gradpm.diagnose.surrogates import SURROGATES
from gradpm.errors import UsageError
from gradpm.report.pages import codes, page

SECTIONS = [
    "What it means",
    "Why torch does so",
    "A minimal example",
    "Cures",
    "When it is on purpose",
    "Folklore put right",
]

RUNNER = """
import ast, json, sys, traceback, warnings

import torch

torch.set_num_threads(1)
warnings.simplefilter("ignore")


class Strict(ast.NodeTransformer):
    '''A block that catches an error must have met one.'''

    def visit_Try(self, node):
        self.generic_visit(node)
        if node.handlers and not node.orelse:
            told = "raise AssertionError('the example raised nothing')"
            node.orelse = ast.parse(told).body
        return node


failed = {}
for code, blocks in json.load(sys.stdin).items():
    torch.manual_seed(0)
    space = {"__name__": code}
    for number, block in enumerate(blocks):
        tree = ast.fix_missing_locations(Strict().visit(ast.parse(block)))
        try:
            exec(compile(tree, f"{code} block {number}", "exec"), space)
        except Exception:
            failed[f"{code} block {number}"] = traceback.format_exc(limit=-1)
json.dump(failed, sys.stdout)
"""


WATCHER = """
import gc, json, runpy, sys, warnings

import gradpm, torch

torch.set_num_threads(1)
warnings.simplefilter("ignore")
told = {}
for path in sys.argv[1:]:
    torch.manual_seed(0)
    try:
        with gradpm.record(path.replace(".py", ".gpm")) as recording:
            runpy.run_path(path)
    except Exception as error:
        print(type(error).__name__, file=sys.stderr)
    gc.collect()
    loud = [f for f in recording.findings if str(f.severity) != "note"]
    told[path] = [(f.code, f.culprit and f.culprit.source) for f in loud]
json.dump(told, sys.stdout)
"""


def uncaught(example: str) -> str:
    """An example without its first `try`, so that it ends as a person's script would."""
    lines = example.splitlines()
    for node in ast.parse(example).body:
        if isinstance(node, ast.Try):
            first, last = node.body[0].lineno - 1, node.body[-1].end_lineno
            return "\n".join(lines[: first - 1] + [line[4:] for line in lines[first:last]]) + "\n"
    return example


def blocks_of(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def section(text: str, title: str) -> str:
    return text.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_codes_are_the_catalogue() -> None:
    assert codes() == sorted(NAMES.items())
    assert len(codes()) == 42


@pytest.mark.parametrize("code", sorted(NAMES))
def test_a_page_has_its_title_and_all_sections(code: str) -> None:
    text = page(code)
    assert text.startswith(f"# {code} {NAMES[code]}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert 40 <= len(text.splitlines()) <= 80
    assert all(len(line) <= 100 for line in text.splitlines() if not line.startswith("|"))
    for title in SECTIONS:
        assert section(text, title).strip(), title
    assert "```python" in section(text, "Cures")


@pytest.mark.parametrize("code", sorted(NAMES))
def test_the_minimal_example_ends_in_what_it_shows(code: str) -> None:
    (example,) = blocks_of(section(page(code), "A minimal example"))
    told = ast.dump(ast.parse(example).body[-1])
    assert "Assert" in told or "print" in told
    assert example.startswith(("import ", "from "))


def test_every_block_of_every_page_runs_and_shows_what_it_claims() -> None:
    blocks = {code: blocks_of(page(code)) for code in NAMES}
    ended = subprocess.run(
        [sys.executable, "-c", RUNNER],
        input=json.dumps(blocks),
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(),
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert json.loads(ended.stdout) == {}


def test_gradpm_says_of_each_minimal_example_what_its_page_is_about(tmp_path: Path) -> None:
    paths = []
    for code in sorted(NAMES):
        (example,) = blocks_of(section(page(code), "A minimal example"))
        paths.append(tmp_path / f"{code}.py")
        paths[-1].write_text(uncaught(example))
    ended = subprocess.run(
        [sys.executable, "-c", WATCHER, *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(OMP_NUM_THREADS="1"),
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    told = json.loads(ended.stdout)
    for path in paths:
        assert [code for code, _ in told[str(path)]] == [path.stem], told[str(path)]
        assert told[str(path)][0][1] in path.read_text()


def test_pages_refer_only_to_codes_that_exist() -> None:
    for code in NAMES:
        assert set(re.findall(r"GP\d{3}", page(code))) <= NAMES.keys()


def test_the_page_on_non_differentiable_ops_names_a_surrogate_for_each() -> None:
    cures = section(page("GP103"), "Cures")
    for op in ("argmax", "argsort", "topk", "one_hot", "multinomial", "bucketize", "histc", "long"):
        assert op in SURROGATES
        assert op in cures


@pytest.mark.parametrize("asked", ["GP101", "gp101", " Gp101 ", "detached", "Detached"])
def test_a_page_is_found_by_code_and_by_name(asked: str) -> None:
    assert page(asked) == page("GP101")


def test_a_name_may_be_written_with_underscores() -> None:
    assert page("left_autograd") == page("GP104")


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("GP110X", "GP110"),
        ("GP999", "GP407 (graph-growth)"),
        ("102x", "GP102 ("),
        ("detach", "GP101 (detached)"),
        ("zzz", "codes go from"),
    ],
)
def test_an_unknown_code_is_told_what_is_near(asked: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f"no finding called {asked}") as caught:
        page(asked)
    assert hint in caught.value.hint


def test_explain_prints_the_page(tmp_path: Path) -> None:
    ran = under(["explain", "GP101"], tmp_path)
    assert (ran.status, ran.out, ran.err) == (0, page("GP101"), "")
    ran = under(["explain"], tmp_path)
    assert ran.out.splitlines() == [f"{code}  {NAMES[code]}" for code in sorted(NAMES)]
    ran = under(["explain", "GP100"], tmp_path)
    assert (ran.status, ran.out) == (64, "")
    assert "did you mean GP101" in ran.err
