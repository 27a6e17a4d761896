"""The command line: exit codes are an API, stdout is data, stderr narration."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from launching import GRADPM, ROOT, execute, under

import gradpm
from gradpm import errors
from gradpm.cli.parser import COMMANDS, command_of, parser_of, split
from gradpm.cli.traces import chosen
from gradpm.errors import TraceNotFound, UsageError


def test_version_and_help_are_data(tmp_path: Path) -> None:
    assert under(["--version"], tmp_path).out == f"gradpm {gradpm.__version__}\n"
    overview = under([], tmp_path)
    assert all(name in overview.out for name in COMMANDS)
    for name in COMMANDS:
        ran = under([name, "--help"], tmp_path)
        assert (ran.status, ran.err) == (0, "")
        assert ran.out.startswith(f"usage: gradpm {name}")


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    door = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from gradpm.cli import main\n"
        "try: main(['run', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'rich', 'textual', 'asyncio', 'pygments'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    assert execute([sys.executable, "-c", door], tmp_path).err == "[]\n"


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["rum", "x.py"], 64, "did you mean: gradpm run?"),
        (["train.py"], 64, "did you mean: gradpm run train.py?"),
        (["run"], 64, "there is nothing to run"),
        (["run", "--oput", "x"], 64, "see: gradpm run --help"),
        (["run", "--every", "0", "x.py"], 64, "--every"),
        (["run", "--every", "two", "x.py"], 64, "two is no whole number above zero"),
        (["run", "nowhere.py"], 66, "nowhere.py does not exist"),
        (["run", "."], 66, ". is a folder without a __main__.py"),
        (["run", "-o", "/dev/null", "-c", "pass"], 73, "/dev/null is no plain file"),
        (["run", "no-such-command"], 66, "no-such-command does not exist"),
        (["report"], 72, "there is no trace in"),
        (["open", "nowhere.gpm"], 72, "nowhere.gpm does not exist"),
        (["check", "."], 72, "there is no trace in"),
    ],
)
def test_what_cannot_be_done_is_a_sentence_and_a_code(
    tmp_path: Path, words: list[str], code: int, told: str
) -> None:
    ran = under(words, tmp_path)
    assert (ran.status, ran.out) == (code, "")
    sentence, hint = ran.err.splitlines()
    assert sentence.startswith("gradpm: ")
    assert hint.startswith("  ")
    assert told in ran.err
    assert "Traceback" not in ran.err


def test_every_error_has_a_hint() -> None:
    family = {name for name in vars(errors) if name[0].isupper()} - {"DamagedColumn"}
    for path in (ROOT / "gradpm").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in family:
                assert len(node.args) == 2, f"{path.name}:{node.lineno}"


def test_the_app_without_a_terminal_is_refused_rather_than_drawn_into_a_file(
    tmp_path: Path,
) -> None:
    (tmp_path / "t.gpm").touch()
    ran = under(["open", "t.gpm"], tmp_path)
    assert (ran.status, ran.out) == (71, "")
    assert ran.err.startswith("gradpm: the app needs a terminal")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk to be full")
def test_a_full_disk_is_a_sentence_and_a_code(tmp_path: Path) -> None:
    call = " ".join([*GRADPM, "explain", "GP101", ">/dev/full"])
    ran = execute(["sh", "-c", call], tmp_path, PYTHONPATH=str(ROOT))
    assert ran.status == 73
    assert ran.err.startswith("gradpm: the output cannot be written: No space left on device\n")
    assert "Traceback" not in ran.err


def test_debug_shows_our_own_traceback(tmp_path: Path) -> None:
    assert "Traceback" in under(["report"], tmp_path, GRADPM_DEBUG="1").err


def test_what_follows_the_script_is_the_scripts() -> None:
    parser = parser_of("run")
    cases = {
        "train.py --help": ([], ["train.py", "--help"]),
        "-o t.gpm --force train.py -o x": (["-o", "t.gpm", "--force"], ["train.py", "-o", "x"]),
        "--output=t.gpm -m pkg --force": (["--output=t.gpm"], ["-m", "pkg", "--force"]),
        "--every 3 -- -odd --quiet": (["--every", "3"], ["-odd", "--quiet"]),
        "--quiet -cpass -h": (["--quiet"], ["-cpass", "-h"]),
        "- x": ([], ["-", "x"]),
    }
    assert {words: split(parser, words.split()) for words in cases} == cases


def test_run_options_have_their_defaults() -> None:
    asked = command_of(["run", "--no-source", "train.py"])
    assert asked is not None
    got = asked.arguments
    assert (got.detail, got.every, got.max_size, got.stats) == ("auto", 0, 256, "auto")
    assert got.no_source
    assert not got.keep_compile


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    door = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import gradpm.cli.report as r, gradpm.cli as c, gradpm.cli.parser as p\n"
        "class M: run = staticmethod(lambda a: r.deliver('x' * 1000000, None) or 0)\n"
        "p.command_of = lambda words: p.Asked(M, None)\n"
        "sys.exit(c.main([]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", door], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 141
    process.stderr.close()


def test_which_traces_are_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TraceNotFound):
        chosen([])
    for age, name in enumerate(["b.rank1.gpm", "b.rank0.gpm", "a.gpm", "x.txt"]):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    assert [path.name for path in chosen([])] == ["b.rank0.gpm", "b.rank1.gpm"]
    assert [path.name for path in chosen(["a.gpm"])] == ["a.gpm"]
    assert [path.name for path in chosen(["b.gpm"])] == ["b.rank0.gpm", "b.rank1.gpm"]
    assert len(chosen(["."])) == 3
    with pytest.raises(TraceNotFound, match=r"c\.gpm"):
        chosen(["c.gpm"])


def test_a_wrong_command_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        command_of(["frobnicate"])
