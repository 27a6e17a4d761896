"""`gradpm diff BEFORE AFTER`: two runs beside each other; exit code 1 when something is worse."""

from __future__ import annotations

import argparse
import os
import sys

from gradpm.cli import columns_of
from gradpm.cli.report import deliver
from gradpm.cli.traces import chosen

FORMATS = ("text", "json")
_EXITS = """\
exit codes:
  0  nothing is worse: AFTER has no finding of the level that BEFORE had not, and none
     that explains more. What was there may still be there: gradpm check AFTER judges that.
  1  a finding is new or worse, or AFTER cannot show it: it ended early, say, or is a run
     of another program
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to `parser`."""
    parser.epilog = _EXITS
    parser.add_argument("before", metavar="BEFORE", help="a trace, or a folder of a run's traces")
    parser.add_argument("after", metavar="AFTER", help="the same of the run to judge")
    parser.add_argument(
        "--at",
        choices=("error", "warning"),
        default="warning",
        help="the least severity that counts for the exit code (default: %(default)s)",
    )
    parser.add_argument("--format", choices=FORMATS, default="text")
    parser.add_argument("-o", "--output", metavar="FILE", help="write there, not to stdout")


def run(arguments: argparse.Namespace) -> int:
    """Print the comparison; 1 if it cannot be said that nothing is worse, else 0."""
    before, after = chosen([arguments.before]), chosen([arguments.after])
    from gradpm import report
    from gradpm.report.diff.forms import render_as

    difference = report.compared(before, after)
    color = arguments.output is None and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    told = render_as(difference, arguments.format, columns_of(sys.stdout), color=color)
    deliver(told, arguments.output)
    return int(difference.is_worse(report.level(arguments.at)))
