"""A softmax over one output is 1 whatever that output is."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)

net = nn.Linear(4, 1)
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
for _ in range(5):
    x = torch.randn(8, 4)
    chance = F.softmax(net(x), dim=1)  # <<culprit
    loss = F.binary_cross_entropy(chance, (x[:, :1] > 0).float())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
