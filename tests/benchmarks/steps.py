"""What recording costs: `python tests/benchmarks/steps.py [--rounds 3] [--only NAME]`.

Prints a table of ratios to the plain step. The runs of one row take turns within each round, and
of every tenth step the shortest over all rounds counts: what else the machine does only makes
steps longer, and may do so for minutes. The last loss of every recorded run must be the plain one
to the last bit.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from workloads import WORKLOADS

HERE = Path(__file__).parent
WAYS = {  # column -> (mode of the script, options of `gradpm run`; None: not under it)
    "plain": ("plain", None),
    "auto": ("plain", []),
    "python": ("plain", []),
    "light": ("plain", ["--detail", "light"]),
    "every 10": ("plain", ["--every", "10"]),
    "full": ("plain", ["--detail", "full"]),
    "anomaly": ("anomaly", None),
    "stacks": ("stacks", None),
}


def run(workload: str, way: str, folder: Path) -> dict[str, Any]:
    """One run of one workload in one way: what it printed."""
    mode, options = WAYS[way]
    command = [sys.executable]
    if options is not None:
        trace = str(folder / "t.gpm")
        command += ["-m", "gradpm", "run", "--quiet", "--force", "--output", trace, *options]
    command += [str(HERE / "workloads.py"), workload, mode]
    env = dict(os.environ, OMP_NUM_THREADS="1", NO_COLOR="1")
    if way == "python":  # as where nothing could be compiled
        env["GRADPM_HOT_PATH"] = "python"
    told = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    line = next(text for text in reversed(told.stdout.splitlines()) if text.startswith("{"))
    found: dict[str, Any] = json.loads(line)
    return found


def row(workload: str, rounds: int, folder: Path) -> list[str]:
    """The ratio of each way to the plain run."""
    shortest: dict[str, list[float]] = {}
    for _ in range(rounds):
        losses = set()
        for way in WAYS:
            found = run(workload, way, folder)
            losses.add(found["loss"])
            times = shortest.setdefault(way, found["shortest_ms"])
            shortest[way] = [min(pair) for pair in zip(times, found["shortest_ms"], strict=True)]
        if len(losses) > 1:
            raise SystemExit(f"{workload}: the loss changed")
    plain = sum(shortest.pop("plain"))
    return [f"{sum(times) / plain:.2f}" for times in shortest.values()]


def main() -> None:
    """Print the table as markdown."""
    parser = argparse.ArgumentParser(description="What recording costs, as ratios to plain.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="part of a workload's name")
    chosen = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, one thread, python {sys.version[:6]}")
    print("| step | default | in Python | `--detail light` | `--every 10` | `--detail full` "
          "| anomaly mode | the same without NaN checks |")  # fmt: skip
    print("| --- |" + " --- |" * 7)
    with tempfile.TemporaryDirectory() as folder:
        for workload in WORKLOADS:
            if chosen.only in workload:
                cells = row(workload, chosen.rounds, Path(folder))
                print(f"| {workload} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
