"""`gradpm open [TRACE...]`: the evidence, in the terminal."""

from __future__ import annotations

import argparse

from gradpm.cli.traces import chosen


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to `parser`."""
    parser.add_argument(
        "traces", nargs="*", metavar="TRACE", help="files or a folder (default: the newest here)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Open the app; its exit code."""
    paths = chosen(arguments.traces)
    from gradpm import tui

    return tui.open_traces(paths)
