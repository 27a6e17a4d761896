"""A learning rate beyond what the curvature bears."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)

x = torch.randn(64, 4) * 4
y = x @ torch.randn(4, 1)
net = nn.Linear(4, 1)
optimizer = torch.optim.SGD(net.parameters(), lr=0.5)  # <<culprit
for _ in range(14):
    loss = F.mse_loss(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
