"""The first weights are loaded again before each step; in between their norm is shown."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)

net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
first = copy.deepcopy(net.state_dict())
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(8):
    net.load_state_dict(first)  # <<culprit
    x = torch.randn(8, 3)
    loss = F.mse_loss(net(x), x[:, :1])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        print(sum(p.pow(2).sum() for p in net.parameters()).sqrt().item())
