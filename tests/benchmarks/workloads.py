"""`python workloads.py NAME [plain|anomaly|stacks]`: one training loop, timed, a turn at a time.

For each line on stdin it takes ten steps and prints a line of JSON: their times in ms and the
loss. `anomaly` turns `torch.autograd.set_detect_anomaly` on, `stacks` the same without its check
for NaN.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

TURN = 10
Job = tuple[Callable[[], Any], Iterable[nn.Parameter], int]
"""What gives the loss, what is trained, how many turns it takes to see something."""


def mlp() -> Job:
    """What a beginner trains: three small layers, many short steps."""
    net = nn.Sequential(
        nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
    )
    x, y = torch.randn(64, 64), torch.randint(0, 10, (64,))
    return lambda: F.cross_entropy(net(x), y), net.parameters(), 40


def convnet() -> Job:
    """Three convolutions with batch norm, on 16 small pictures."""
    layers: list[nn.Module] = []
    for into, out in ((3, 32), (32, 64), (64, 64)):
        layers += [nn.Conv2d(into, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU()]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    x, y = torch.randn(16, 3, 32, 32), torch.randint(0, 10, (16,))
    return lambda: F.cross_entropy(net(x), y), net.parameters(), 6


def recurrent() -> Job:
    """A GRU cell stepped 60 times by hand."""
    cell, head = nn.GRUCell(32, 64), nn.Linear(64, 1)
    x = torch.randn(60, 16, 32)

    def step() -> Any:
        h = torch.zeros(16, 64)
        for part in x:
            h = cell(part, h)
        return head(h).square().mean()

    return step, [*cell.parameters(), *head.parameters()], 10


def transformer(width: int = 256, depth: int = 4, turns: int = 6) -> Job:
    """Encoder layers over 8 sequences of 64."""
    layer = nn.TransformerEncoderLayer(width, 4, 4 * width, batch_first=True)
    net = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
    x = torch.randn(8, 64, width)
    return lambda: net(x).square().mean(), net.parameters(), turns


def small_ops(count: int, depth: int, turns: int) -> Job:
    """Elementwise ops on a few numbers, called from `depth` Python frames down."""
    w = nn.Parameter(torch.randn(64))

    def descend(left: int, x: Any) -> Any:
        if left:
            return descend(left - 1, x)
        for _ in range(count // 2):
            x = x * 0.999
            x = x + 0.001
        return x

    return lambda: descend(depth, w).square().mean(), [w], turns


WORKLOADS: dict[str, Callable[[], Job]] = {
    "mlp": mlp,
    "convnet": convnet,
    "recurrent": recurrent,
    "transformer": transformer,
    "tiny ops": lambda: small_ops(2000, 0, 10),
    "deep stack": lambda: small_ops(500, 100, 10),
    "wide transformer": lambda: transformer(512, 6, 3),
    "long chain": lambda: small_ops(20_000, 0, 3),
}


def main(name: str, mode: str = "plain") -> None:
    """Train, and print the figures."""
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    if mode != "plain":
        torch.autograd.set_detect_anomaly(True, check_nan=mode == "anomaly")
    step, parameters, _ = WORKLOADS[name]()
    optimizer = torch.optim.SGD(parameters, lr=1e-3)
    for _ in sys.stdin:
        times = []
        for _ in range(TURN):
            began = time.perf_counter()
            optimizer.zero_grad()
            loss = step()
            loss.backward()
            optimizer.step()
            times.append((time.perf_counter() - began) * 1e3)
        print(json.dumps({"ms": times, "loss": loss.item().hex()}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
