"""Whether a long run costs more per step than a short one: `python tests/benchmarks/growth.py`.

The same small training with 10^3, 10^4 and 10^5 steps, plainly and recorded: the median time of
a step in the first and in the last thousand, as a ratio to the plain run's; the peak of resident
memory over plain; the trace's bytes per step. The last loss must be the plain one to the bit.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from gradpm.trace.model import Trace

SCRIPT = """
import json, resource, statistics, sys, time
import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
steps = int(sys.argv[1])
net = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
x, y = torch.randn(32, 32), torch.randint(0, 10, (32,))
seconds, peaks = [], []
for step in range(steps):
    began = time.perf_counter()
    optimizer.zero_grad()
    loss = F.cross_entropy(net(x), y)
    loss.backward()
    optimizer.step()
    seconds.append(time.perf_counter() - began)
    if step in (steps // 2, steps - 1):
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(json.dumps({
    "first": statistics.median(seconds[100:1000]) * 1e3,
    "last": statistics.median(seconds[-900:]) * 1e3,
    "half": peaks[0], "peak": peaks[-1], "loss": loss.item().hex(),
}))
"""


def run(words: list[str]) -> dict[str, float | str]:
    """One run: what it printed."""
    env = dict(os.environ, OMP_NUM_THREADS="1", NO_COLOR="1")
    told = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
    found: dict[str, float | str] = json.loads(told.stdout.splitlines()[-1])
    return found


def line(steps: int, folder: Path) -> list[str]:
    """The cells of one row of the table."""
    script, trace = folder / "train.py", folder / "t.gpm"
    script.write_text(SCRIPT)
    plain = run([sys.executable, str(script), str(steps)])
    watched = [sys.executable, "-m", "gradpm", "run", "--quiet", "--force", "--output", str(trace)]
    under = run([*watched, str(script), str(steps)])
    if under["loss"] != plain["loss"]:
        raise SystemExit(f"{steps} steps: the loss changed")
    ratios = [float(under[when]) / float(plain[when]) for when in ("first", "last")]
    more = [float(under[when]) - float(plain[when]) for when in ("half", "peak")]
    stopped = "stopped" in Trace(trace).meta
    size = trace.stat().st_size
    return [
        f"{steps:,}", *(f"{ratio:.2f}" for ratio in ratios), *(f"{mib:.0f}" for mib in more),
        f"{size / 2**20:.1f}", f"{size / steps:.0f}", "yes" if stopped else "no",
    ]  # fmt: skip


def main() -> None:
    """Print the table as markdown."""
    parser = argparse.ArgumentParser(description="What a step costs as the run grows.")
    parser.add_argument("--most", type=int, default=100_000, help="steps of the longest run")
    most = parser.parse_args().most
    print("| steps | first 1000 | last 1000 | MiB over plain, half-way | at the end "
          "| trace, MiB | bytes a step | stopped |")  # fmt: skip
    print("| --- |" + " --- |" * 7)
    with tempfile.TemporaryDirectory() as folder:
        for steps in (1000, 10_000, 100_000):
            if steps <= most:
                print(f"| {' | '.join(line(steps, Path(folder)))} |", flush=True)


if __name__ == "__main__":
    main()
