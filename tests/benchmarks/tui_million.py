"""First frame and key latencies of the app on a graph of a million nodes.

    python tests/benchmarks/tui_million.py [NODES]

Builds the trace once (in the temporary folder), then opens it in a real pseudo-terminal and
times from a key to the first byte that comes back, and to the end of what was painted (with
the panes that follow once the cursor rests). CPU is that of the app's own thread.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import statistics
import struct
import sys
import tempfile
import termios
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "tui")]

RUN = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from gradpm.diagnose.finding import Diagnosis
from gradpm.tui.app import GradpmApp
GradpmApp([Path({path!r})], lambda trace: Diagnosis(())).run()
"""
EMPTY = "from textual.app import App; App().run()"
LAYERS, PER_LAYER = 24, 22


class Session:
    """A child under a pty."""

    def __init__(self, code: str) -> None:
        self.began = time.perf_counter()
        self.pid, self.fd = pty.fork()
        if not self.pid:
            environ = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
            environ["TEXTUAL_ANIMATIONS"] = "none"
            os.execve(sys.executable, [sys.executable, "-c", code], environ)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 140, 0, 0))
        self.seen = b""

    def take(self, seconds: float) -> bytes:
        ready, _, _ = select.select([self.fd], [], [], seconds)
        data = os.read(self.fd, 1 << 20) if ready else b""
        self.seen += data
        return data

    def until(self, word: bytes, most: float = 120) -> float:
        """Seconds from the start until these bytes came."""
        while word not in self.seen:
            if time.perf_counter() - self.began > most:
                raise TimeoutError(word)
            self.take(0.1)
        return time.perf_counter() - self.began

    def settle(self, quiet: float = 0.5) -> None:
        while self.take(quiet):
            pass

    def cpu(self) -> float:
        """ms that the app's own thread has run: what other programs take is not in it."""
        spent = Path(f"/proc/{self.pid}/task/{self.pid}/schedstat")
        return int(spent.read_text().split()[0]) / 1e6 if spent.exists() else float("nan")

    def key(self, keys: str) -> tuple[float, float, int, float]:
        """(ms to the first byte, ms to the last, bytes, CPU ms)."""
        used = self.cpu()
        began = last = time.perf_counter()
        os.write(self.fd, keys.encode())
        first, size = 0.0, 0
        while data := self.take(0.2 if first else 3.0):
            last = time.perf_counter()
            first = first or last
            size += len(data)
        if not first:
            return float("nan"), float("nan"), 0, self.cpu() - used
        return (first - began) * 1e3, (last - began) * 1e3, size, self.cpu() - used

    def close(self) -> None:
        os.write(self.fd, b"\x11")
        time.sleep(0.3)
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


def build(nodes: int) -> Path:
    """A trace with about this many nodes; made once."""
    from make_trace import make_net

    path = Path(tempfile.gettempdir()) / f"gradpm_million_{nodes}.gpm"
    if not path.exists():
        began = time.perf_counter()
        make_net(LAYERS, 1, turns=max(1, nodes // (LAYERS * PER_LAYER))).write(path)
        print(f"built {path.name} in {time.perf_counter() - began:.0f} s")
    return path


def first_frames(path: Path) -> None:
    """An empty app against ours."""
    code = RUN.format(root=str(ROOT), path=str(path))
    for name, run, word in (
        ("empty Textual app, first frame", EMPTY, b"\x1b[?2004h"),
        ("gradpm, first frame", code, b"Reading"),
        ("gradpm, desk", code, b"Findings"),
    ):
        times = []
        for _ in range(5):
            session = Session(run)
            times.append(session.until(word))
            session.close()
        print(f"{name:34s} {statistics.median(times) * 1e3:7.0f} ms")


def keys(path: Path) -> None:
    """Each key several times."""
    session = Session(RUN.format(root=str(ROOT), path=str(path)))
    session.until(b"Findings")
    session.settle()
    began = time.perf_counter()
    first = session.key("3")
    print(f"{'key while the graph is built':34s} {first[0]:7.1f} ms")
    waits, spent = [], []
    while b"NllLoss" not in session.seen and b"turns" not in session.seen:
        one = session.key("1" if len(waits) % 2 else "3")
        waits.append(one[0])
        spent.append(one[3])
        if time.perf_counter() - began > 120:
            raise TimeoutError("the graph")
    print(f"{'graph outlined after':34s} {(time.perf_counter() - began) * 1e3:7.0f} ms")
    if waits:
        print(
            f"{'  keys meanwhile, median / worst':34s} {statistics.median(waits):7.1f} / {max(waits):.1f}"
            f"  cpu {statistics.median(spent):5.1f} / {max(spent):.1f}"
        )
    os.write(session.fd, b"3")
    session.settle()
    for name, key, times in (
        ("to another pane and back", "1", 1), ("to another pane and back", "3", 1),
        ("down", "j", 15), ("page down", "\x1b[6~", 9), ("expand all", "E", 1), ("end", "G", 1),
        ("up", "k", 9), ("page up", "\x1b[5~", 9), ("fold", "h", 5), ("collapse all", "C", 1),
        ("next bad gradient", "x", 3), ("filter: open", "f", 1), ("filter: type", "g", 1),
        ("filter: type", "e", 1), ("filter: type", "l", 1), ("filter: close", "\x1b", 1),
        ("go to parameter (v)", "2\x1b[B\x1b[B\x1b[B\x1b[Bv", 1), ("way to the loss", "w", 1),
    ):  # fmt: skip
        found = [session.key(key) for _ in range(times)]
        first_ms = [one[0] for one in found]
        print(
            f"{name:34s} {statistics.median(first_ms):7.1f} ms  worst {max(first_ms):7.1f}  "
            f"done {statistics.median(one[1] for one in found):7.1f}  "
            f"cpu {statistics.median(one[3] for one in found):6.1f}  "
            f"{statistics.median(one[2] for one in found):9,.0f} bytes"
        )
    session.close()


if __name__ == "__main__":
    trace = build(int(float(sys.argv[1])) if len(sys.argv) > 1 else 1_000_000)
    first_frames(trace)
    keys(trace)
