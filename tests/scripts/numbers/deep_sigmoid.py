"""So many sigmoids that the gradient is rounded to zero on its way: it vanishes, none is saturated."""

import torch
from torch import nn

torch.manual_seed(0)
layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(80))
head = nn.Linear(16, 1)
optimizer = torch.optim.SGD([*layers.parameters(), *head.parameters()], lr=0.1)
for layer in layers:
    nn.init.normal_(layer.weight, std=0.01)
for _ in range(4):
    h = torch.randn(6, 16)
    for layer in layers:
        h = torch.sigmoid(layer(h))  # <<culprit
    loss = head(h).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
