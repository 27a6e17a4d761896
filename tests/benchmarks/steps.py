"""What recording costs: `python tests/benchmarks/steps.py [--turns 2] [--only NAME]`.

Prints a table of ratios to the plain step. All runs of one row live at the same time and take
turns of ten steps; each turn's mean is held against the plain turn beside it, and the median over
the turns is told. So a machine that changes its pace, for a second or for minutes, changes it for
all. The first turn, which warms up, does not count. The losses of all must be the plain one's to
the last bit.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

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


def start(workload: str, way: str, folder: Path) -> subprocess.Popen[str]:
    """Begin one run of one workload in one way: it waits for its turn."""
    mode, options = WAYS[way]
    command = [sys.executable]
    if options is not None:
        trace = str(folder / f"{way}.gpm")
        command += ["-m", "gradpm", "run", "--quiet", "--force", "--output", trace, *options]
    command += [str(HERE / "workloads.py"), workload, mode]
    env = dict(os.environ, OMP_NUM_THREADS="1", NO_COLOR="1")
    if way == "python":  # as where nothing could be compiled
        env["GRADPM_HOT_PATH"] = "python"
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=env, text=True, stdin=pipe, stdout=pipe, bufsize=1)


def turn(process: subprocess.Popen[str]) -> tuple[float, str]:
    """(mean time of a step, loss) of the next ten steps."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    told = json.loads(process.stdout.readline())
    return statistics.mean(told["ms"]), told["loss"]


def row(workload: str, turns: int, folder: Path) -> list[str]:
    """The median ratio of each way to the plain run."""
    processes = {way: start(workload, way, folder) for way in WAYS}
    ratios: dict[str, list[float]] = {way: [] for way in WAYS}
    for count in range(1 + turns):
        found = {way: turn(process) for way, process in processes.items()}
        if len({loss for _, loss in found.values()}) > 1:
            raise SystemExit(f"{workload}: the loss changed")
        for way, (time, _) in found.items() if count else ():
            ratios[way].append(time / found["plain"][0])
    for process in processes.values():
        process.communicate()
    del ratios["plain"]
    return [f"{statistics.median(each):.2f}" for each in ratios.values()]


def main() -> None:
    """Print the table as markdown."""
    parser = argparse.ArgumentParser(description="What recording costs, as ratios to plain.")
    parser.add_argument("--turns", type=int, default=1, help="so many times the usual number")
    parser.add_argument("--only", default="", help="part of a workload's name")
    chosen = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, one thread, python {sys.version[:6]}")
    print("| step | default | in Python | `--detail light` | `--every 10` | `--detail full` "
          "| anomaly mode | the same without NaN checks |")  # fmt: skip
    print("| --- |" + " --- |" * 7)
    with tempfile.TemporaryDirectory() as folder:
        for workload, job in WORKLOADS.items():
            if chosen.only in workload:
                cells = row(workload, chosen.turns * job()[2], Path(folder))
                print(f"| {workload} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
