"""From words to a command and its options; only that command's file is imported."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol, cast

from gradpm import __version__
from gradpm.errors import UsageError

COMMANDS = {
    "run": "run a training command, record its autograd, say what is wrong",
    "open": "browse traces in the terminal",
    "report": "the diagnosis as text, JSON, markdown, HTML or SARIF",
    "check": "exit 1 when something is wrong: for CI",
    "diff": "hold a run against one before it: whether a fix worked",
    "explain": "what a finding's code means and how to mend it",
    "completion": "print the shell's completion script",
}


class CommandModule(Protocol):
    """What each command's file provides."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's options to `parser`."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it, and give the exit code."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A command and its parsed options."""

    module: CommandModule
    arguments: argparse.Namespace


class Parser(argparse.ArgumentParser):
    """argparse, whose complaints are `UsageError`s."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of exiting."""
        raise UsageError(message, f"see: {self.prog} --help")


def command_of(words: Sequence[str]) -> Asked | None:
    """The command that `words` ask for; None when they only asked for help or the version."""
    if not words or words[0] in ("-h", "--help"):
        print(overview(), end="")
        return None
    if words[0] in ("-V", "--version"):
        print(f"gradpm {__version__}")
        return None
    name, rest = words[0], list(words[1:])
    if name not in COMMANDS:
        raise UsageError(f"there is no command {name}", _nearest(name))
    module = module_of(name)
    parser = parser_of(name)
    if name != "run":
        return Asked(module, parser.parse_args(rest))
    own, command = split(parser, rest)
    arguments = parser.parse_args(own)
    arguments.command = command
    return Asked(module, arguments)


def module_of(name: str) -> CommandModule:
    """The file of the command `name`."""
    return cast("CommandModule", importlib.import_module(f"gradpm.cli.{name}"))


def parser_of(name: str) -> Parser:
    """The parser of the command `name`."""
    parser = Parser(
        prog=f"gradpm {name}",
        description=COMMANDS[name][0].upper() + COMMANDS[name][1:] + ".",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module_of(name).configure(parser)
    return parser


def overview() -> str:
    """What `gradpm --help` prints."""
    width = max(map(len, COMMANDS))
    rows = "".join(f"  {name:<{width}}  {does}\n" for name, does in COMMANDS.items())
    return (
        "usage: gradpm COMMAND [OPTIONS] ...\n\n"
        "The flight recorder and the accident report of PyTorch's autograd.\n\n"
        f"{rows}\n"
        "gradpm COMMAND --help tells a command's options; gradpm --version the version.\n"
    )


def split(parser: argparse.ArgumentParser, words: list[str]) -> tuple[list[str], list[str]]:
    """gradpm's own options before the user's command, and that command untouched.

    argparse's REMAINDER would take `--help` after the script for its own.
    """
    at = 0
    while at < len(words):
        word = words[at]
        if word == "--":
            return words[:at], words[at + 1 :]
        if word == "-" or not word.startswith("-") or word[:2] in ("-m", "-c"):
            break
        at += 2 if _takes_next(parser, word) else 1
    return words[:at], words[at:]


def _takes_next(parser: argparse.ArgumentParser, word: str) -> bool:
    action = parser._option_string_actions.get(word)
    return action is not None and action.nargs is None


def _nearest(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, COMMANDS, n=1)
    if close:
        return f"did you mean: gradpm {close[0]}?"
    if name.endswith(".py"):
        return f"did you mean: gradpm run {name}?"
    if name.endswith(".gpm"):
        return f"did you mean: gradpm open {name}?"
    return "see: gradpm --help"
