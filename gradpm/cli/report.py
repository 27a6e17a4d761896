"""`gradpm report [TRACE...]`: the diagnosis, for a person or for a program."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from gradpm.cli import columns_of
from gradpm.cli.traces import chosen
from gradpm.errors import OutputError

FORMATS = ("text", "json", "markdown", "html", "sarif")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to `parser`."""
    parser.add_argument(
        "traces", nargs="*", metavar="TRACE", help="files or a folder (default: the newest here)"
    )
    parser.add_argument("--format", choices=FORMATS, default="text")
    parser.add_argument("-o", "--output", metavar="FILE", help="write there, not to stdout")


def run(arguments: argparse.Namespace) -> int:
    """Print the report; 0 whatever it says (`check` judges)."""
    paths = chosen(arguments.traces)
    from gradpm import report

    deliver(report.render(paths, arguments.format, columns_of(sys.stdout)), arguments.output)
    return 0


def deliver(text: str, output: str | None) -> None:
    """`text`, ending in a newline, to stdout or into the file `output`."""
    text = text if text.endswith("\n") else text + "\n"
    if output is None:
        reconfigure = getattr(sys.stdout, "reconfigure", None)
        if reconfigure is not None:  # a terminal that lacks a character still gets the report
            reconfigure(errors="replace")
        _print(text)
        return
    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as error:
        hint = "name a file in a folder that exists and that you may write to"
        raise OutputError(f"{output} cannot be written: {error.strerror}", hint) from None


def _print(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has enough, which is no error
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # python tries once more
        hint = "name a file on another disk: --output FILE"
        raise OutputError(f"the output cannot be written: {error.strerror}", hint) from None
