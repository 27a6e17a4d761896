"""`gradpm completion bash`: what the shell needs to complete gradpm's words."""

from __future__ import annotations

import argparse

from gradpm.cli.report import deliver
from gradpm.errors import GradpmError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to `parser`."""
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"))


def run(arguments: argparse.Namespace) -> int:
    """Print the script; shtab writes it."""
    try:
        import shtab
    except ImportError:
        raise GradpmError("completion needs shtab", "pip install shtab") from None
    deliver(shtab.complete(_whole_parser(), arguments.shell), None)
    return 0


def _whole_parser() -> argparse.ArgumentParser:
    from gradpm.cli.parser import COMMANDS, module_of

    parser = argparse.ArgumentParser(prog="gradpm")
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers()
    for name, does in COMMANDS.items():
        module_of(name).configure(commands.add_parser(name, help=does))
    return parser
