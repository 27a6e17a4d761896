"""What reading a trace costs, by its size: `python tests/benchmarks/scale.py [--most 1e6]`.

Prints wall time and peak memory of `gradpm report`, `check`, `diff` and `open` (to the first
desk with its findings, in a pseudo-terminal) on made traces of 10^3 nodes and more, with about as
many op rows, or on the traces that are named. A trace is made once, in the temporary folder.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "tui")]

from tui_million import LAYERS, PER_LAYER, Session  # noqa: E402

from gradpm.trace.model import Trace  # noqa: E402
from gradpm.trace.schema import Table  # noqa: E402

DOOR = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from gradpm.cli import main; sys.exit(main({{}}))"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process took."""

    seconds: float
    cpu: float
    peak: int  # bytes

    def __str__(self) -> str:
        return f"{self.seconds:7.2f} s {self.cpu:7.2f} s {self.peak / 1e6:6.0f} MB"


def build(nodes: int) -> Path:
    """A run with this many nodes in its one graph; an evaluation before it fills the op rows."""
    from make_trace import Net

    layers = min(LAYERS, max(1, nodes // PER_LAYER))
    path = Path(tempfile.gettempdir()) / f"gradpm_scale_{nodes}.gpm"
    if not path.exists():
        turns = max(1, nodes // (layers * PER_LAYER))
        net = Net(layers)
        net.meta(
            script="train.py", torch="2.13.0+cpu", python="3.11.7", argv=["train.py"], rank=None
        )
        net.forward(turns)
        net.backward(0, net.forward(turns))
        net.write(path)
    return path


def command(*words: str) -> Cost:
    """One `gradpm` with its output thrown away."""
    began = time.perf_counter()
    pid = os.fork()
    if not pid:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        os.execv(sys.executable, [sys.executable, "-c", DOOR.format(list(words))])
    _, status, used = os.wait4(pid, 0)
    seconds = time.perf_counter() - began
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        raise SystemExit(f"gradpm {' '.join(words)} ended with {status}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Cost(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * unit)


def opened(path: Path) -> Cost:
    """The app, until its desk shows the findings."""
    session = Session(DOOR.format(["open", str(path)]))
    seconds = session.until(b"Findings", 600)
    cpu, peak = session.cpu() / 1e3, 0
    status = Path(f"/proc/{session.pid}/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        peak = int(line.split()[1]) * 1024
    session.close()
    return Cost(seconds, cpu, peak)


def table(path: Path, commands: list[str]) -> None:
    """One block of rows."""
    trace = Trace(path)
    rows = {table: trace.table(table).rows for table in (Table.OP, Table.NODE, Table.BACKWARD)}
    trace.close()
    told = ", ".join(f"{count:,} {table.name.lower()}" for table, count in rows.items())
    print(f"{path.name} ({path.stat().st_size / 1e6:.1f} MB): rows: {told}")
    for name in commands:
        words = [str(path)] * (2 if name == "diff" else 1)
        cost = opened(path) if name == "open" else command(name, *words)
        print(f"  {name:8s} {cost}", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("traces", nargs="*", type=Path, help="default: made ones")
    parser.add_argument("--most", type=float, default=1e6, help="nodes (default: 1e6)")
    parser.add_argument("--only", help="commands, joined by commas")
    asked = parser.parse_args()
    commands = asked.only.split(",") if asked.only else ["report", "check", "diff", "open"]
    print(f"{'':10s} {'wall':>8s} {'cpu':>9s} {'peak':>9s}")
    print(f"  {'--help':8s} {command('--help')}")
    sizes = [size for size in (10**3, 10**4, 10**5, 10**6) if size <= asked.most]
    for path in asked.traces or map(build, sizes):
        table(path, commands)


if __name__ == "__main__":
    main()
