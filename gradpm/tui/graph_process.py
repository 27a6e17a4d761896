"""A large graph is outlined in a process of its own: a key never waits for python's lock.

A thread beside the app made keys take up to a second on a graph of a million nodes. The child
is started by us, and what it hands back (arrays in a file that is mapped, not copied) is read
by nobody else.
"""

from __future__ import annotations

import mmap
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

from gradpm.diagnose.finding import Diagnosis, Finding
from gradpm.errors import GradpmError
from gradpm.tui.graph_view import GraphView
from gradpm.tui.outline import Progress

_VIEW, _ARRAYS = "view.pickle", "arrays.bin"
_ALIGNED = 64
_START = "import sys; sys.path[:] = {path!r}; from gradpm.tui.graph_process import main; main()"


def load_beside(
    trace: Path, findings: tuple[Finding, ...], backward: int, mode: str, progress: Progress
) -> GraphView:
    """Read and outline a graph in a child; raises what the child raised."""
    with tempfile.TemporaryDirectory(prefix="gradpm-", ignore_cleanup_errors=True) as folder:
        order = pickle.dumps((trace, findings, backward, mode, folder))
        found = _ask(order, progress, Path(folder))
    if isinstance(found, GradpmError):
        raise found
    view: GraphView = found
    # the same objects as the app's own, so that `is` holds for them
    own = {finding: finding for finding in findings}
    view.lost = [(step, own.get(finding, finding)) for step, finding in view.lost]
    return view


def _ask(order: bytes, progress: Progress, folder: Path) -> Any:
    command = [sys.executable, "-c", _START.format(path=sys.path)]
    told = folder / "stderr"
    with (
        told.open("wb") as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        ) as child,
    ):
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(order)
            child.stdin.close()
            for line in child.stdout:
                progress(float(line))
        except BaseException:  # nobody waits for it any more
            child.kill()
            raise
    if child.returncode:
        raise RuntimeError(told.read_text(errors="replace"))
    return _read(folder)


def _read(folder: Path) -> Any:
    data = (folder / _VIEW).read_bytes()
    sizes, data = pickle.loads(data)
    if not sizes:
        return pickle.loads(data)
    with (folder / _ARRAYS).open("rb") as file:
        mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    arrays, at = [], 0
    for size in sizes:
        arrays.append(mapped[at : at + size])
        at += size + -size % _ALIGNED
    return pickle.loads(data, buffers=arrays)


def _write(found: Any, folder: Path) -> None:
    sizes: list[int] = []

    def keep(file: BinaryIO, buffer: pickle.PickleBuffer) -> None:
        raw = buffer.raw()
        sizes.append(raw.nbytes)
        file.write(raw)
        file.write(bytes(-raw.nbytes % _ALIGNED))

    with (folder / _ARRAYS).open("wb") as file:
        data = pickle.dumps(found, protocol=5, buffer_callback=lambda one: keep(file, one))
    (folder / _VIEW).write_bytes(pickle.dumps((sizes, data)))


def main() -> None:
    """The child: an order on stdin, shares of the work done on stdout, the rest in files."""
    from gradpm.trace.model import Trace
    from gradpm.tui.evidence import Evidence
    from gradpm.tui.graph_view import load

    path, findings, backward, mode, folder = pickle.load(sys.stdin.buffer)

    def tell(share: float) -> None:
        print(share, flush=True)

    try:
        evidence = Evidence(Trace(path), Diagnosis(findings))
        found: GraphView | GradpmError = load(evidence, backward, mode, tell)
    except GradpmError as error:
        found = error
    _write(found, Path(folder))
