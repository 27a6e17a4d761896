"""Integer division makes the warm-up factor 0 for ever."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)

net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)  # <<second
schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step // 100)  # <<culprit
for _ in range(6):
    x = torch.randn(8, 3)
    loss = F.mse_loss(net(x), x[:, :1])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
