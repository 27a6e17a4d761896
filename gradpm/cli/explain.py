"""`gradpm explain GP101`: the page of a finding's code."""

from __future__ import annotations

import argparse

from gradpm.cli.report import deliver


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to `parser`."""
    parser.add_argument(
        "code", nargs="?", metavar="CODE", help="a finding's code or name (default: list them all)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the page; without a code, the list of them."""
    from gradpm import report

    if arguments.code is None:
        deliver("\n".join(f"{code}  {name}" for code, name in report.codes()), None)
    else:
        deliver(report.explain(arguments.code), None)
    return 0
