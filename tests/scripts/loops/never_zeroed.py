"""Gradients pile up from step to step."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)

net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
optimizer = torch.optim.Adam(net.parameters())
for micro in range(16):
    x = torch.randn(8, 3)
    loss = F.mse_loss(net(x), x[:, :1]) / 4
    loss.backward()  # <<culprit
    if micro % 4 == 3:
        optimizer.step()  # <<second
