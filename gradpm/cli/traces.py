"""Which traces a command is about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gradpm.errors import TraceNotFound
from gradpm.launch.naming import siblings


def chosen(words: Sequence[str]) -> list[Path]:
    """The files that `words` name; of a folder all its traces; without words the newest run.

    Raises `TraceNotFound` where there is none.
    """
    if not words:
        return newest(Path())
    return [path for word in words for path in _named(Path(word))]


_EMPTY = 100_000  # bytes that a trace without a call does not reach
_MAKE_ONE = "make one: gradpm run train.py"


def newest(folder: Path) -> list[Path]:
    """The traces of the run that wrote last into `folder`, its ranks together."""
    found = list(folder.glob("*.gpm"))
    if not found:
        raise TraceNotFound(f"there is no trace in {folder.resolve()}", _MAKE_ONE)
    latest = max(found, key=lambda path: path.stat().st_mtime_ns)
    main = latest.with_name(latest.name.split(".rank")[0].split(".pid")[0].removesuffix(".gpm"))
    main = main.with_name(main.name + ".gpm")
    return _run_of(main) or [latest]


def _named(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(path.glob("*.gpm"))
        if not found:
            raise TraceNotFound(f"there is no trace in {path}", _MAKE_ONE)
        return found
    ranks = siblings(path)
    if path.exists():
        return ranks if ranks and _only_launched(path) else [path]
    if not ranks:
        raise TraceNotFound(f"{path} does not exist", _alternatives(path))
    return ranks


def _only_launched(path: Path) -> bool:
    """Whether a run did nothing with torch but start others: torchrun imports it all the same."""
    from gradpm.errors import GradpmError
    from gradpm.trace.model import Trace
    from gradpm.trace.schema import Table

    if path.stat().st_size > _EMPTY:
        return False
    try:
        trace = Trace(path)
    except GradpmError:
        return False
    empty = not trace.table(Table.OP).rows and not trace.table(Table.BACKWARD).rows
    trace.close()
    return empty


def _run_of(main: Path) -> list[Path]:
    return [path for path in (main, *siblings(main)) if path.exists()]


def _alternatives(path: Path) -> str:
    import difflib

    names = [entry.name for entry in path.parent.glob("*.gpm")]
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"did you mean {path.parent / close[0]}?" if close else _MAKE_ONE
