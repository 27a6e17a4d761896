"""The scale falls as it should, and the sum of large squares overflows float16 all the same."""

import torch
from torch import nn

torch.manual_seed(0)

net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
scaler = torch.amp.GradScaler("cpu")
for _ in range(6):
    x = torch.randn(8, 3)
    optimizer.zero_grad()
    with torch.autocast("cpu", dtype=torch.float16):
        out = net(x)
    loss = (out.float() - 1e5 * x[:, :1]).pow(2).sum()
    scaler.scale(loss).backward()
    scaler.step(optimizer)  # <<culprit
    scaler.update()
