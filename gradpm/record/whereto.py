"""Which file this process writes: the run's own, or one with its rank or number in its name."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from gradpm.record.options import Options

_SLACK = 2.0
"""Seconds by which a file system's clock may lag behind ours."""


def file_of(base: str, options: Options) -> str:
    """`train.gpm` for the process that `gradpm run` started; `train.rank1.gpm`, `train.pid7.gpm`.

    Asked when the file is opened: a process spawned without RANK in its environment
    knows its rank only once it has joined its group.
    """
    path = Path(base)
    rank = rank_of()
    if rank is not None:
        named = path.with_name(f"{path.stem}.rank{rank}{path.suffix}")
        if not _of_this_run(named, options.began):
            return str(named)
    elif options.root_pid == os.getpid():
        return base
    return str(path.with_name(f"{path.stem}.pid{os.getpid()}{path.suffix}"))


def rank_of() -> int | None:
    """This process's rank among several; None when there is one, or none is known."""
    rank, world = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "1")
    if rank.isdigit() and world.isdigit() and int(world) > 1:
        return int(rank)
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return int(distributed.get_rank()) if distributed.get_world_size() > 1 else None


def _of_this_run(path: Path, began: float) -> bool:
    """Whether another process of this run, a rank started anew, has written there already."""
    try:
        return began > 0 and path.stat().st_mtime >= began - _SLACK
    except OSError:
        return False
