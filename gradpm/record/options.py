"""What `gradpm run` asks of the recorder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Options:
    """How much to record; unknown names from a later gradpm are ignored."""

    detail: str = "auto"  # full, auto, light
    every: int = 0  # each Nth engine call is measured node by node; 0: the first, and on suspicion
    max_size: int = 256  # MiB
    stats: str = "auto"  # all: every node in every call; none: no value is ever read
    source: bool = True
    redact: bool = False
    keep_compile: bool = False
    run: str = ""
    began: float = 0.0  # when `gradpm run` did
    root_pid: int = 0  # of the process that it started; 0 in all others

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """Options from decoded JSON."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in given.items() if name in known})
