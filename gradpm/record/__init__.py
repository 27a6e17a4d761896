"""The only room where torch is imported: taps that write facts.

The package can be called: `with gradpm.record("t.gpm") as recording: ...`.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradpm.record.recording import Recording


def start(trace: str, options: dict[str, Any]) -> None:
    """Record this process from now on; called once torch has been imported."""
    from gradpm.record.session import start_process

    start_process(trace, options)


def record(
    path: str | os.PathLike[str] = "recording.gpm",
    *,
    detail: str = "auto",
    source: bool = True,
    redact: bool = False,
    keep_compile: bool = False,
    max_size: int = 256,
) -> Recording:
    """A recording to `path`, for a `with` statement; `gradpm.record(...)` is this function.

    `detail` is full, auto or light; `max_size` is in MiB; `source=False` embeds no source
    text; `redact` leaves out source, argv, paths and environment as well.
    """
    from gradpm.record.options import Options
    from gradpm.record.recording import Recording

    options = Options(
        detail=detail, source=source, redact=redact, keep_compile=keep_compile, max_size=max_size
    )
    return Recording(path, options)


class _Callable(ModuleType):
    """A module that is also the function that it is named after."""

    __call__ = staticmethod(record)


sys.modules[__name__].__class__ = _Callable
