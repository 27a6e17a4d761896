"""A training recorded as if its gradients were on a device that lags behind by some calls.

`on_device.py TRACE LAG BAD [DETAIL]`: LAG events pass before one is done (-1: never while it runs);
at step BAD a gradient is not finite (-1: at none). Prints how often somebody waited.
"""

import sys

import torch
from torch import nn

import gradpm
from gradpm.record import calls, known, late, leaves, measure

trace, lag, bad = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
detail = sys.argv[4] if len(sys.argv) > 4 else "auto"
asked: list["Event"] = []
waited: list[str] = []


class Event:
    """Done once LAG later ones have been asked for."""

    def __init__(self, _device: object) -> None:
        asked.append(self)
        self.after = len(asked) + lag

    def query(self) -> bool:
        return lag >= 0 and len(asked) >= self.after


class Numbers:
    """A copy on its way: whoever reads it before its event is done has waited."""

    def __init__(self, values: torch.Tensor) -> None:
        self.values, self.which = values, len(asked)

    def tolist(self) -> list[float]:
        if not asked[self.which].query():
            waited.append("late norms")
        return self.values.tolist()


def counting(name: str, act):
    def counted(*args, **kwargs):
        waited.append(name)
        return act(*args, **kwargs)

    return counted


if lag != 0:
    copied = late._copied
    known.is_host = calls.is_host = lambda tensor: False
    leaves.begin, leaves.end = known.begin, known.end  # compiled, they ask the tensor itself
    late.mark, late._copied = Event, lambda grads: Numbers(copied(grads))
    late.MOST_WAITING = 8 if lag < 0 else late.MOST_WAITING
    measure._norms_of = counting("norms", measure._norms_of)

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(16, 4)
with gradpm.record(trace, detail=detail):
    for step in range(40):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        if step == bad:
            model[2].weight.grad.fill_(float("inf"))
        optimizer.step()
        if step == 33:  # after the 32nd, at which the optimizer is looked at
            steady = len(waited)
    steady = len(waited) - steady
print(steady, loss.item())
