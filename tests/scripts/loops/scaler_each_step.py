"""A scaler made anew in each step never finds its scale."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)

net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(6):
    x = torch.randn(8, 3)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**126)
    loss = F.mse_loss(net(x), x[:, :1]) * 100
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    scaler.step(optimizer)  # <<culprit
    scaler.update()
