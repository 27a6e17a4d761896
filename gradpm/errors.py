"""The one family of errors that gradpm tells a person about.

Every room may import this file and it imports none of them. An error is a
sentence that names what is wrong, a hint that names the way out, and the exit
code that the command line leaves with.
"""

from __future__ import annotations


class GradpmError(Exception):
    """Something a person can act on; never a traceback on their screen.

    `sentence` says what is wrong, with the name of the file concerned; `hint`
    says what to do about it (may be empty); `exit_code` is what `gradpm` exits with.
    """

    exit_code = 70

    def __init__(self, sentence: str, hint: str = "") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.hint = hint


class UsageError(GradpmError):
    """The command line asks for something that cannot be meant."""

    exit_code = 64


class ScriptNotFound(GradpmError):
    """The script, module or command to run does not exist."""

    exit_code = 66


class TorchNotFound(GradpmError):
    """The interpreter that would run the script has no torch."""

    exit_code = 69


class TorchNeverImported(GradpmError):
    """The script ran to its end, but never imported torch: there is no trace."""

    exit_code = 65


class NotReached(GradpmError):
    """The command ended well, but no python in it ever read gradpm's start hook."""

    exit_code = 78


class OutputError(GradpmError):
    """A file that gradpm was asked to write cannot be written."""

    exit_code = 73


class NoTerminal(GradpmError):
    """The app has no terminal to be shown in."""

    exit_code = 71


class TraceError(GradpmError):
    """A trace cannot be read."""

    exit_code = 74


class TraceNotFound(TraceError):
    """No trace is where one was named or looked for."""

    exit_code = 72


class NotATrace(TraceError):
    """The file is not a gradpm trace at all, or its header is gone."""

    exit_code = 76


class NewerTrace(TraceError):
    """The trace was made by a later gradpm whose layout this one does not know."""

    exit_code = 77


class DamagedColumn(TraceError):
    """One column or frame of a trace does not hold what its directory says."""
