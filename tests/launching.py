"""Runs one script plainly and under `gradpm run`, as real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

STUB_TORCH = "class Tensor: pass\n"
"""Enough of a torch for the boot to see it arrive; the recorder finds it wanting, and says so."""

GRADPM = (sys.executable, "-m", "gradpm")
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Ran:
    """One process from outside; `narration` is what gradpm itself said on stderr."""

    status: int
    out: str
    err: str

    @property
    def narration(self) -> str:
        return "".join(line for line in self.err.splitlines(True) if _ours(line))

    @property
    def own_err(self) -> str:
        return "".join(line for line in self.err.splitlines(True) if not _ours(line))


def _ours(line: str) -> bool:
    return line.startswith(("gradpm:", "  the ", "  pip install", "  python's", "  did you"))


def environment(**more: str) -> dict[str, str]:
    """The tests' own, without what an outer gradpm or launcher may have put there."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("GRADPM_")}
    kept.pop("RANK", None)
    kept.pop("PYTHONPATH", None)
    return {**kept, **more}


def execute(words: list[str], folder: Path, given: str = "", **env: str) -> Ran:
    """Run `words` in `folder`."""
    ended = subprocess.run(
        words,
        cwd=folder,
        env=environment(**env),
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return Ran(ended.returncode, ended.stdout, ended.stderr)


def under(words: list[str], folder: Path, given: str = "", **env: str) -> Ran:
    """Run `gradpm WORDS` in `folder`, with this tree's gradpm and none on the user's path."""
    door = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
        "from gradpm.cli import main; sys.exit(main())"
    )
    return execute([sys.executable, "-c", door, *words], folder, given, **env)


def both(words: list[str], folder: Path, given: str = "", **env: str) -> tuple[Ran, Ran]:
    """`python WORDS` and `gradpm run WORDS`."""
    plain = execute([sys.executable, *words], folder, given, **env)
    return plain, under(["run", *words], folder, given, **env)


def assert_same(words: list[str], folder: Path, given: str = "", **env: str) -> Ran:
    """Status, stdout and the program's own stderr are equal; the plain run."""
    plain, watched = both(words, folder, given, **env)
    expected = (plain.status, plain.out, plain.err)
    assert (watched.status, watched.out, watched.own_err) == expected, f"{watched}\n{plain}"
    return plain
