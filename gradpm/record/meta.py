"""What is said of the run as a whole."""

from __future__ import annotations

import os
import platform
import sys
import time
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from gradpm.record.recorder import Recorder

ENVIRONMENT = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")


def opening(recorder: Recorder) -> None:
    """Facts known when the file is opened."""
    from gradpm import __version__

    private = recorder.options.redact
    script = sys.argv[0] if sys.argv else ""
    recorder.note("format", 1)
    recorder.note("gradpm", __version__)
    recorder.note("script", os.path.basename(script) if private else script)
    if not private:
        recorder.note("argv", list(sys.argv))
        recorder.note("cwd", os.getcwd())
        recorder.note("environment", {k: os.environ[k] for k in ENVIRONMENT if k in os.environ})
    recorder.note("torch", str(torch.__version__))
    recorder.note("python", platform.python_version())
    recorder.note("platform", platform.system())
    recorder.note("pid", os.getpid())
    recorder.note("run", recorder.options.run)
    recorder.note("rank", _rank())
    recorder.note("began", recorder.began)
    recorder.note("detail", recorder.options.detail)
    recorder.note("stats", recorder.options.stats)


def ending(recorder: Recorder) -> None:
    """Facts known when the process ends."""
    recorder.note("ended", time.time())
    recorder.note("seconds", time.time() - recorder.began)
    recorder.note("backwards", recorder.engine.count)
    recorder.note("steps", recorder.steps)
    recorder.note("ops", recorder.ops_so_far() - 1 - recorder.asides)


def _rank() -> int | None:
    if "RANK" in os.environ and os.environ["RANK"].isdigit():
        return int(os.environ["RANK"])
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank())
    return None
