"""The command line: one file per command. Data on stdout, narration on stderr.

Nothing is imported before it is asked for: `gradpm --help` answers at once.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from gradpm.errors import GradpmError

_INTERRUPTED = 130
_PIPE_CLOSED = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Do what `argv` (default: the command line) asks; the exit code to leave with."""
    _open_closed_streams()
    # a diagnosis makes millions of objects that live to its end: looking for cycles among them
    # again and again takes a fifth of its time
    gc.set_threshold(100_000, 20, 20)
    try:
        return _dispatch(list(sys.argv[1:] if argv is None else argv))
    except GradpmError as error:
        if os.environ.get("GRADPM_DEBUG"):
            raise
        tell(error)
        return error.exit_code
    except BrokenPipeError:  # `gradpm report | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    except KeyboardInterrupt:
        return _INTERRUPTED


def _open_closed_streams() -> None:
    """Started with `>&-`, python has no stream at all; a child of ours must still find it closed.

    What python opens is closed when another program is executed.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115


def tell(error: GradpmError) -> None:
    """The error on stderr: its sentence, and the way out below it."""
    print(f"gradpm: {error.sentence}", file=sys.stderr)
    if error.hint:
        print(f"  {error.hint}", file=sys.stderr)


def columns_of(stream: TextIO) -> int | None:
    """How wide the terminal is that shows a stream; None when no terminal does."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        return None


def _dispatch(words: list[str]) -> int:
    from gradpm.cli import parser

    command = parser.command_of(words)
    if command is None:
        return 0
    status = command.module.run(command.arguments)
    sys.stdout.flush()
    return status
