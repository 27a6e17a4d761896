"""`with gradpm.record("t.gpm") as recording:` the same recorder, in a notebook or a test."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from gradpm.errors import GradpmError
from gradpm.record.faults import say
from gradpm.record.options import Options
from gradpm.record.recorder import Recorder
from gradpm.record.tracebacks import splice_chain

if TYPE_CHECKING:
    from gradpm.diagnose import Diagnosis, Finding

_open: list[Recorder] = []
"""The recorders of this process that have begun, the innermost last; only that one records."""


class Recording:
    """What happens inside the `with` is recorded to `path`; torch is left as it was found.

    Inside another recording, or under `gradpm run`, this one has a file of its own and the
    outer one pauses. The file is complete when the block has ended; asked earlier, the
    diagnosis is of what has happened so far.
    """

    def __init__(self, path: str | os.PathLike[str], options: Options) -> None:
        self.path = Path(os.path.abspath(path))
        self._options = options
        self._recorder: Recorder | None = None
        self._diagnosis: Diagnosis | None = None

    def __enter__(self) -> Recording:
        if self._recorder is not None:
            raise RuntimeError("this recording has begun already: make another one")
        try:
            self._recorder = self._begun()
        except GradpmError:
            raise  # a folder that is not there is told here, not at the end
        except Exception as fault:
            say(f"gradpm: recording is off: {type(fault).__name__}: {fault}\n")
        return self

    def _begun(self) -> Recorder:
        recorder = Recorder(lambda: str(self.path), self._options)
        recorder.always_writes = True
        recorder.output.open()
        begin(recorder)
        return recorder

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        recorder = self._recorder
        if recorder is None:
            return
        if error is not None and recorder.on:
            recorder.guard("end", recorder.errors.uncaught, error, traceback)
        recorder.guard("end", splice_chain, error, recorder.stands)
        recorder.guard("end", end, recorder)

    @property
    def findings(self) -> list[Finding]:
        """What is wrong, most severe first."""
        return list(self.diagnosis.findings)

    @property
    def diagnosis(self) -> Diagnosis:
        """Everything that can be said of the trace."""
        if self._recorder is None:
            raise RuntimeError("nothing is recorded yet: use it in a with statement")
        if self._diagnosis is not None:
            return self._diagnosis
        running = self._recorder in _open
        if running:
            self._recorder.flush(force=True)
        found: Any = importlib.import_module("gradpm.diagnose")
        model: Any = importlib.import_module("gradpm.trace.model")
        trace = model.Trace(self.path)
        diagnosis: Diagnosis = found.diagnose(trace)
        if not running:
            self._diagnosis = diagnosis
        return diagnosis


def begin(recorder: Recorder) -> None:
    """Let this one record; who has recorded until now pauses."""
    if _open:
        _open[-1].guard("pause", _open[-1].pause)
    _open.append(recorder)
    recorder.guard("start", recorder.start)


def end(recorder: Recorder) -> None:
    """Seal its file and leave torch as it was found, in whatever order recordings end."""
    if recorder not in _open:
        return
    was_on_top = _open[-1] is recorder
    _open.remove(recorder)
    recorder.guard("end", recorder.finish)
    recorder.guard("end", recorder.remove)
    if was_on_top and _open:
        _open[-1].guard("pause", _open[-1].resume)
