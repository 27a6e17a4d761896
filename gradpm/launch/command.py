"""What to run: a script, `-m MODULE`, `-c CODE`, or any command that runs python."""

from __future__ import annotations

import difflib
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gradpm.errors import ScriptNotFound, UsageError

_LAUNCHERS = ("torch.distributed.", "accelerate.commands.", "deepspeed.launcher.", "lightning.")


@dataclass(frozen=True, slots=True)
class Command:
    """`argv` is what to execute, its first word a path; `stem` names the trace after it."""

    argv: tuple[str, ...]
    stem: str


def work_out(words: Sequence[str]) -> Command:
    """The command that `words`, given after `gradpm run` and its options, mean.

    Raises `UsageError` if they are incomplete and `ScriptNotFound` if there is no such
    script or command.
    """
    if not words:
        raise UsageError("there is nothing to run", "try: gradpm run train.py")
    first = words[0]
    if first.startswith("-m") or first.startswith("-c"):
        return _inline(words)
    if first == "-":
        return Command((sys.executable, *words), "stdin")
    if _is_script(first):
        return Command((sys.executable, *words), _script_stem(first))
    found = _on_path(first) or shutil.which(os.path.join(os.curdir, first))
    if found is None:
        raise _not_found(first)
    return Command((found, *words[1:]), _launched_stem(words[1:]) or _script_stem(found))


def _inline(words: Sequence[str]) -> Command:
    """`-m MODULE` and `-c CODE`, with or without a space, as python takes them."""
    option, glued, rest = words[0][:2], words[0][2:], words[1:]
    if not glued and not rest:
        wanted = "a module name" if option == "-m" else "code"
        raise UsageError(f"{option} needs {wanted} after it", "see: gradpm run --help")
    argv = (sys.executable, *words)
    if option == "-c":
        return Command(argv, "command")
    module, arguments = (glued, rest) if glued else (rest[0], rest[1:])
    launched = _launched_stem(arguments) if module.startswith(_LAUNCHERS) else ""
    return Command(argv, launched or module.removesuffix(".__main__").rpartition(".")[2])


def _is_script(word: str) -> bool:
    """True for what `python WORD` would run, rather than the shell."""
    path = Path(word)
    if path.suffix in (".py", ".pyw", ".pyc"):
        if not path.exists():
            raise _not_found(word)
        return True
    if _on_path(word) is not None:
        return False
    if path.is_dir():
        return (path / "__main__.py").exists()
    return path.is_file() and not _is_for_another(path)


def _is_for_another(path: Path) -> bool:
    """True if the first line hands the file to a program that is no python.

    Raises `UsageError` if the file may not be executed, so that nobody would.
    """
    try:
        with path.open("rb") as file:
            first = file.readline(200)
    except OSError:
        return False  # python will say what is wrong with it
    if not first.startswith(b"#!") or b"python" in first:
        return False
    if not os.access(path, os.X_OK):
        program = os.fsdecode(first[2:].split()[0]) if first[2:].split() else "sh"
        raise UsageError(
            f"{path} is not for python but for {program}, and is not executable",
            f"chmod +x {path}, or: gradpm run {program} {path}",
        )
    return True


def _on_path(word: str) -> str | None:
    """Where the shell would find the command, else beside our own python.

    The second place serves `.venv/bin/gradpm run torchrun ...` without activation.
    """
    found = shutil.which(word)
    if found is None and os.sep not in word:
        found = shutil.which(word, path=os.path.dirname(sys.executable))
    return found


def _script_stem(word: str) -> str:
    path = Path(word).resolve() if word.strip("./") == "" else Path(word)
    name = path.parent.name if path.name == "__main__.py" else path.name
    for suffix in (".py", ".pyw", ".pyc", ".pyz", ".sh"):
        name = name.removesuffix(suffix)
    return name or "run"


def _launched_stem(words: Sequence[str]) -> str:
    """The stem of the script that a launcher is told to run, or ''."""
    for word, before in zip(words, ("", *words), strict=False):
        if before == "-m" and not word.startswith(_LAUNCHERS):
            return word.rpartition(".")[2]
        if word.endswith(".py") and os.path.isfile(word):
            return _script_stem(word)
    return ""


def _not_found(word: str) -> ScriptNotFound:
    if Path(word).is_dir():
        return ScriptNotFound(f"{word} is a folder without a __main__.py", "name the script in it")
    return ScriptNotFound(f"{word} does not exist", _suggestion(word))


def _suggestion(word: str) -> str:
    """The scripts in that folder whose names are nearest, as a hint."""
    folder = Path(word).parent
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.suffix == ".py")
    except OSError:
        return f"there is no folder {folder}"
    wanted = Path(word).name
    close = difflib.get_close_matches(wanted, names, n=2, cutoff=0.6)
    close = close or difflib.get_close_matches(wanted + ".py", names, n=2, cutoff=0.6)
    if not close:
        return f"look in {folder.resolve()}, or for a command on PATH"
    return "did you mean " + " or ".join(str(folder / name) for name in close) + "?"
