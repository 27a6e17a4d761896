"""A number of python's is the divisor, and it is 0; the power before it can do no harm."""

import torch
from torch import nn

torch.manual_seed(0)
model = nn.Linear(3, 2)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for limit in (-100.0, -100.0, 100.0):
    x = torch.randn(4, 3)
    kept = x[x > limit]
    error = 3.0 + model(x).pow(2).sum()
    loss = error / kept.numel()  # <<culprit
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
