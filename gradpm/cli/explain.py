"""`gradpm explain GP101`: the page of a finding's code."""

from __future__ import annotations

import argparse

from gradpm.cli.report import deliver


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to `parser`."""
    parser.add_argument("code", metavar="CODE", help="a finding's code: GP101")


def run(arguments: argparse.Namespace) -> int:
    """Print the page."""
    from gradpm import report

    deliver(report.explain(arguments.code), None)
    return 0
