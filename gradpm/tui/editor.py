"""How each editor wants to be told a file, a line and a column."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath

Syntax = Callable[[str, int, int], list[str]]


def _vim(file: str, line: int, column: int) -> list[str]:
    return [f"+call cursor({line},{column})", "--", file]


def _plus_colon(file: str, line: int, column: int) -> list[str]:
    return [f"+{line}:{column}", file]


def _plus_comma(file: str, line: int, column: int) -> list[str]:
    return [f"+{line},{column}", file]


def _plus_line(file: str, line: int, column: int) -> list[str]:
    return [f"+{line}", file]


def _goto(file: str, line: int, column: int) -> list[str]:
    return ["--goto", f"{file}:{line}:{column}"]


def _suffix(file: str, line: int, column: int) -> list[str]:
    return [f"{file}:{line}:{column}"]


def _jetbrains(file: str, line: int, column: int) -> list[str]:
    return ["--line", str(line), "--column", str(max(0, column - 1)), file]


def _kate(file: str, line: int, column: int) -> list[str]:
    return ["--line", str(line), "--column", str(column), file]


_SYNTAX: dict[str, tuple[Syntax, bool]] = {  # (arguments, runs in the terminal)
    **dict.fromkeys(("vim", "nvim", "vi", "view", "gvim"), (_vim, True)),
    **dict.fromkeys(("emacs", "emacsclient", "kak", "micro"), (_plus_colon, True)),
    **dict.fromkeys(("nano", "pico", "rnano"), (_plus_comma, True)),
    **dict.fromkeys(("hx", "helix"), (_suffix, True)),
    **dict.fromkeys(("joe", "ne", "mg", "mcedit", "less", "more"), (_plus_line, True)),
    **dict.fromkeys(
        ("code", "code-insiders", "codium", "vscodium", "cursor", "windsurf"), (_goto, False)
    ),
    **dict.fromkeys(("subl", "sublime_text", "zed", "zeditor", "mate"), (_suffix, False)),
    **dict.fromkeys(
        ("pycharm", "charm", "idea", "pycharm-professional", "pycharm-community"),
        (_jetbrains, False),
    ),
    "kate": (_kate, False),
}


@dataclass(frozen=True, slots=True)
class EditorCall:
    """A command to run; `in_terminal`: the app must give the terminal away meanwhile."""

    command: list[str]
    in_terminal: bool


def editor_call(
    file: str, line: int, column: int, environ: Mapping[str, str] = os.environ
) -> EditorCall | None:
    """What opens `file` at `line` and `column` (from 1); None where there is no editor."""
    wanted = environ.get("VISUAL") or environ.get("EDITOR") or ""
    try:
        command = shlex.split(wanted)
    except ValueError:  # an unbalanced quote: take it as a path
        command = [wanted]
    if not command:
        command = next(
            ([name] for name in ("nano", "vim", "vi", "emacs") if shutil.which(name)), []
        )
    if not command:
        return None
    name = PurePath(command[0].replace("\\", "/")).name.lower()
    name = name.removesuffix(".exe").removesuffix(".cmd").removesuffix(".bat")
    syntax, in_terminal = _SYNTAX.get(name, (_plus_line, True))
    if name in ("emacs", "emacsclient"):
        in_terminal = "-c" not in command and "--create-frame" not in command
    if name == "gvim":
        in_terminal = False
    if any(flag in command for flag in ("--wait", "-w", "-W")):
        in_terminal = True  # it will not come back until the file is closed
    return EditorCall(command + syntax(file, max(1, line), max(1, column)), in_terminal)


def run_here(call: EditorCall) -> str:
    """Run an editor and wait for it; what went wrong, in a sentence, or nothing."""
    try:
        subprocess.run(call.command, check=False)
    except OSError as error:
        return _cannot(call, error)
    return ""


def start_beside(call: EditorCall) -> str:
    """Start an editor that has a window of its own; what went wrong, or nothing."""
    quiet = subprocess.DEVNULL
    try:
        subprocess.Popen(call.command, stdin=quiet, stdout=quiet, stderr=quiet)
    except OSError as error:
        return _cannot(call, error)
    return ""


def _cannot(call: EditorCall, error: OSError) -> str:
    return f"Cannot start {call.command[0]}: {error.strerror or error}. See $VISUAL and $EDITOR."
