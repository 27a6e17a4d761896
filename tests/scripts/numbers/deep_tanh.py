"""Weights so small that each layer leaves a tenth of the gradient."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)

layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(14))
for layer in layers:
    nn.init.uniform_(layer.weight, -0.02, 0.02)
head = nn.Linear(16, 1)
optimizer = torch.optim.SGD([*layers.parameters(), *head.parameters()], lr=0.1)
for _ in range(5):
    x = torch.randn(8, 16)
    h = x
    for layer in layers:
        h = torch.tanh(layer(h))  # <<culprit
    loss = F.mse_loss(head(h), x[:, :1])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
