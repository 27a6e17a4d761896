"""The scale is set back to a large number after each step."""

import torch
from torch import nn

torch.manual_seed(0)

net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
scaler = torch.amp.GradScaler("cpu", init_scale=1e38)
for _ in range(6):
    x = torch.randn(8, 3)
    loss = (net(x) - 90 * x[:, :1]).pow(2).mean()
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    scaler.step(optimizer)  # <<culprit
    scaler.update(1e38)
