"""The whole forward runs inside `step(closure)`, as Lightning and skorch do it."""

import functools

import torch
from torch import nn

torch.manual_seed(0)
encoder, head = nn.Linear(3, 4), nn.Linear(4, 1)


def features(x):
    with torch.no_grad():  # <<second
        return torch.tanh(encoder(x))  # <<culprit


def closure(optimizer, x):
    optimizer.zero_grad()
    loss = head(features(x)).pow(2).mean()
    loss.backward()
    return loss


optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()])
for _ in range(3):
    optimizer.step(functools.partial(closure, optimizer, torch.randn(5, 3)))
