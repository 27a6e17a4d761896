"""`gradpm check [TRACE...]`: the report, and exit code 1 when something is wrong."""

from __future__ import annotations

import argparse
import sys

from gradpm.cli import columns_of
from gradpm.cli.report import FORMATS, deliver
from gradpm.cli.traces import chosen


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to `parser`."""
    parser.add_argument(
        "traces", nargs="*", metavar="TRACE", help="files or a folder (default: the newest here)"
    )
    parser.add_argument(
        "--at",
        choices=("error", "warning"),
        default="warning",
        help="the least severity that counts as wrong (default: %(default)s)",
    )
    parser.add_argument("--format", choices=FORMATS, default="text")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the report there")


def run(arguments: argparse.Namespace) -> int:
    """Print the report; 1 if its worst finding reaches the level, else 0."""
    paths = chosen(arguments.traces)
    from gradpm import report

    told, worst = report.judged(paths, arguments.format, columns_of(sys.stdout))
    deliver(told, arguments.output)
    return int(worst is not None and worst >= report.level(arguments.at))
