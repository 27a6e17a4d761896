"""Ten groups of parameters, nine lost each in its own way, one healthy."""

import functools
import math
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn as nn


def frozen(function):
    @functools.wraps(function)
    def wrapper(*args):
        with torch.no_grad():
            return function(*args)

    return wrapper


@contextmanager
def evaluating(module):
    module.eval()
    with torch.no_grad():
        yield
    module.train()


class Lost(nn.Module):
    def __init__(self):
        super().__init__()
        self.wrapped, self.managed, self.written, self.smoothed, self.healthy = (
            nn.Linear(4, 4) for _ in range(5)
        )
        self.length = nn.Parameter(torch.tensor(0.5))
        self.threshold = nn.Parameter(torch.tensor(0.1))
        self.rounded = nn.Parameter(torch.randn(4, 4))
        self.choice = nn.Parameter(torch.randn(4))
        self.crop = nn.Parameter(torch.tensor([1.0, 2.0]))
        self.register_buffer("table", torch.zeros(2, 4))

    @frozen
    def encode(self, x):
        return self.wrapped(x)  # <<culprit:wrapped

    def scale(self):
        return math.exp(self.length)  # <<culprit:length

    def quantised(self):
        w = self.rounded
        step = w.detach().abs().amax() / 127
        return (w / step).round().to(torch.int8).float() * step  # <<culprit:rounded

    def chosen(self):
        soft = self.choice.softmax(0)
        hard = nn.functional.one_hot(soft.detach().argmax(), 4).float()
        return hard + (soft - soft.detach()).detach()  # <<culprit:choice

    def window(self, x):
        for start, end in [self.crop.tolist()]:  # <<culprit:crop
            first, last = int(start), int(end)
        return x[:, first:last].sum()

    def smooth(self, x):
        y = self.smoothed(x).detach().numpy() * np.hanning(4)  # <<culprit:smoothed
        return torch.from_numpy(y).float()

    def forward(self, x):
        with evaluating(self.managed):
            h = self.managed(x)  # <<culprit:managed
        for row in range(2):
            self.table.data[row] = self.written(x[row])  # <<culprit:written
        h = h + self.encode(x) + self.smooth(x) + self.table.sum() + self.window(x)
        h = h @ self.quantised() / self.scale() + self.chosen()
        if h.mean() > self.threshold:  # <<culprit:threshold
            h = h * 2
        return self.healthy(h)


torch.manual_seed(0)
model = Lost()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for _ in range(3):
    loss = model(torch.randn(3, 4)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(loss.item(), model.length.item(), model.crop.tolist())
