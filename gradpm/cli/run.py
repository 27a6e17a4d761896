"""`gradpm run COMMAND`: watch a training command, then say in a few lines what is wrong."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from gradpm import launch
from gradpm.cli import columns_of, tell
from gradpm.errors import GradpmError, NotReached, TorchNeverImported, TorchNotFound

_EXAMPLES = """\
gradpm run train.py --lr 0.1
gradpm run -m package.train
gradpm run torchrun --nproc-per-node 2 train.py

The exit status, or the signal, is the command's own. What stands after the command
goes to it untouched.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to `parser`."""
    parser.usage = "gradpm run [OPTIONS] SCRIPT | -m MODULE | -c CODE | COMMAND [ARGS...]"
    parser.epilog = _EXAMPLES
    add = parser.add_argument
    add("-o", "--output", metavar="FILE", help="the trace (default: SCRIPT.gpm, here)")
    add("--force", action="store_true", help="overwrite the trace, rather than number it")
    add("--open", action="store_true", help="go straight into the app afterwards")
    add("--quiet", action="store_true", help="no verdict afterwards")
    add("--detail", choices=("full", "auto", "light"), default="auto", help="how much to record")
    add("--every", type=_positive, default=0, metavar="N", help="watch each Nth backward closely")
    add("--max-size", type=_positive, default=256, metavar="MB", help="of a trace (default: 256)")
    stats = "look at every node's gradient, or at no value at all"
    add("--stats", choices=("auto", "all", "none"), default="auto", help=stats)
    add("--no-source", action="store_true", help="embed no source text")
    add("--redact", action="store_true", help="leave out source, argv, paths, environment")
    add("--keep-compile", action="store_true", help="let torch.compile compile: one node each")


def run(arguments: argparse.Namespace) -> int:
    """Run the command, say what is wrong; end as the command ended."""
    command = launch.work_out(arguments.command)
    trace = launch.choose(command.stem, arguments.output, force=arguments.force)
    if not arguments.output and trace.parent != Path.cwd() and _speaks():
        told = f"no trace can be written in {Path.cwd()}: it will be {trace}"
        print(f"gradpm: {told}", file=sys.stderr, flush=True)
    started = time.time()
    ended = launch.run(command, trace, _options(arguments))
    paths = launch.traces_of(trace, started)
    status = ended.status
    _note_ending(paths, ended)
    try:
        if not paths:
            status = _without_trace(ended, trace, quiet=arguments.quiet)
        elif not arguments.quiet and _speaks():
            _tell_verdict(paths)
        if paths and arguments.open and _speaks():
            _open(paths)
    except KeyboardInterrupt:
        status = ended.status or 130
    return launch.leave_as(status)


def _positive(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word} is no whole number above zero")
    return int(word)


def _options(arguments: argparse.Namespace) -> dict[str, object]:
    """What the recorder is told, as JSON; sizes in MiB."""
    return {
        "run": os.urandom(8).hex(),
        "began": time.time(),
        "detail": arguments.detail,
        "every": arguments.every,
        "max_size": arguments.max_size,
        "stats": arguments.stats,
        "source": not (arguments.no_source or arguments.redact),
        "redact": arguments.redact,
        "keep_compile": arguments.keep_compile,
    }


def _speaks() -> bool:
    """False for all but the first of the ranks that a launcher started with us in front."""
    return os.environ.get("RANK", "0") in ("", "0")


def _without_trace(ended: launch.Ended, trace: Path, *, quiet: bool) -> int:
    """Say why no trace came of it, and the status to leave with.

    A failure of the command's own keeps its status, but for the plain exit 1 of a
    program that found no torch.
    """
    error = _reason(ended)
    if error is None:
        # by the boot, in its own words; or by torch itself, in the script's traceback
        said = ended.signs is not None and not ended.signs.isdisjoint({"off", "failed"})
        if not (quiet or said) and _speaks():
            told = f"torch was imported, but autograd was never used: {trace.name} was not written"
            print(f"gradpm: {told}", file=sys.stderr)
        return ended.status
    decides = ended.status == 0 or (ended.status == 1 and isinstance(error, TorchNotFound))
    if _speaks() and (decides or not quiet):
        tell(error)
    return error.exit_code if decides else ended.status


def _reason(ended: launch.Ended) -> GradpmError | None:
    signs = ended.signs
    if signs is None or not signs.isdisjoint({"torch", "failed"}):
        return None
    if "notorch" in signs:
        return TorchNotFound(
            "the python that ran the command has no torch",
            "pip install torch there, or name another: gradpm run path/to/python train.py",
        )
    if "boot" in signs:
        return TorchNeverImported(
            "the command never imported torch, so there is nothing to show",
            "put gradpm run before the command that trains",
        )
    return NotReached(
        "no python in the command let gradpm in, so nothing was recorded",
        "python's options -S, -I and -E shut it out; is it python at all?",
    )


def _note_ending(paths: list[Path], ended: launch.Ended) -> None:
    """How the run ended, into its main trace: the script itself could not know."""
    from gradpm.trace.amend import add_meta

    for path in paths[:1]:
        add_meta(path, {"exit_code": ended.status})


def _tell_verdict(paths: list[Path]) -> None:
    """The few lines on stderr; whatever goes wrong here is not the command's fault."""
    try:
        sys.stderr.write(_verdict(paths))
    except (GradpmError, OSError) as error:
        if os.environ.get("GRADPM_DEBUG"):
            raise
        sentence = getattr(error, "sentence", str(error))
        hint = getattr(error, "hint", "GRADPM_DEBUG=1 gradpm report shows where")
        tell(GradpmError(f"{paths[0].name} was written, but: {sentence}", hint))
    except Exception as error:
        if os.environ.get("GRADPM_DEBUG"):
            raise
        told = f"{paths[0].name} was written, but the diagnosis failed: {type(error).__name__}"
        tell(GradpmError(f"{told}: {error}", "GRADPM_DEBUG=1 gradpm report shows where"))


def _open(paths: list[Path]) -> None:
    from gradpm import tui

    try:
        tui.open_traces(paths)
    except GradpmError as error:
        tell(error)


def _verdict(paths: list[Path]) -> str:
    from gradpm import report

    color = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    return report.verdict(paths, color=color, columns=columns_of(sys.stderr))
