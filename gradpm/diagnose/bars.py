"""A small plot of norms, for the path of a finding."""

from __future__ import annotations

import math

from gradpm.diagnose.finding import Step

LONGEST = 12


def bars(norms: list[float], labels: list[str]) -> list[Step]:
    """A bar for each norm by its magnitude; of many only every so-manyth."""
    every = -(-len(norms) // LONGEST)
    logs = [math.log(max(norm, 1e-45)) for norm in norms]
    low, high = min(logs), max(logs)
    steps = []
    for at in range(0, len(norms), every):
        share = (logs[at] - low) / (high - low) if high > low else 1.0
        bar = "▇" * (1 + round(11 * share))
        steps.append(Step("op", labels[at], f"{bar} {norms[at]:.1e}"))
    return steps
