"""Where a run's traces go, and which files a run has left.

The main process of a run writes `train.gpm`; a rank writes `train.rank1.gpm` and any
other process `train.pid123.gpm` beside it.
"""

from __future__ import annotations

import glob
import os
import tempfile
from itertools import chain, count
from pathlib import Path

from gradpm.errors import OutputError
from gradpm.launch.claims import claim

_SLACK = 2.0
"""Seconds by which a file system's clock may lag behind ours."""


def choose(stem: str, output: str | None, *, force: bool) -> Path:
    """The absolute path of a new run's main trace: `output`, else `stem`.gpm here.

    A name that is taken is never overwritten unless `force`: `train-2.gpm`, and so on.
    Where nothing can be written here, and no other place was named, it is one for
    temporary files: the training is to go on. Raises `OutputError` if the folder that
    was named is missing or cannot be written to.
    """
    wanted = Path(os.path.abspath(output)) if output else Path.cwd() / f"{stem}.gpm"
    if wanted.is_dir():
        wanted = wanted / f"{stem}.gpm"
    if wanted.exists() and not wanted.is_file():  # /dev/null, a pipe
        raise OutputError(f"{wanted} is no plain file", "a trace needs one of its own")
    try:
        _must_be_writable(wanted.parent)
    except OutputError:
        if output:
            raise
        wanted = Path(tempfile.gettempdir()) / wanted.name
        _must_be_writable(wanted.parent)
    if force:
        return wanted
    numbered = (wanted.with_name(f"{wanted.stem}-{n}{wanted.suffix}") for n in count(2))
    return next(path for path in chain([wanted], numbered) if not _taken(path) and claim(path))


def siblings(main: Path) -> list[Path]:
    """The traces of ranks and of other processes beside `main`, in order of their names."""
    stem = glob.escape(main.stem)
    found = [*main.parent.glob(f"{stem}.rank*.gpm"), *main.parent.glob(f"{stem}.pid*.gpm")]
    return sorted(found, key=_by_number)


def traces_of(main: Path, started: float) -> list[Path]:
    """Every trace that the run begun at `started` (`time.time()`) has left, `main` first."""
    return [path for path in (main, *siblings(main)) if _written_since(path, started - _SLACK)]


def _by_number(path: Path) -> tuple[str, int, str]:
    """`rank10` after `rank9`."""
    label = path.name.split(".")[-2]
    kind = label.rstrip("0123456789")
    digits = label[len(kind) :]
    return kind, int(digits) if digits else -1, path.name


def _written_since(path: Path, moment: float) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return status.st_mtime >= moment and status.st_size > 0


def _taken(main: Path) -> bool:
    """True if a run of that name exists.

    Under torchrun each rank may start a `gradpm run` of its own, at its own moment: so
    a rank looks for its own file only, and all come to the same name.
    """
    rank = os.environ.get("RANK", "")
    if rank.isdigit():
        return main.exists() or main.with_name(f"{main.stem}.rank{rank}.gpm").exists()
    return main.exists() or bool(siblings(main))


def _must_be_writable(folder: Path) -> None:
    """Try it: permission bits know nothing of full disks and read-only mounts."""
    probe = folder / f".gradpm-{os.getpid()}"
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        os.unlink(probe)
    except OSError as error:
        raise OutputError(
            f"no trace can be written in {folder}: {error.strerror}",
            "name another place: gradpm run --output FILE ...",
        ) from None
