"""nn.Softmax(dim=0) over a batch of one."""

import torch
from torch import nn

torch.manual_seed(0)

net = nn.Linear(4, 3)
chances = nn.Softmax(dim=0)
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
for step in range(6):
    out = chances(net(torch.randn(1, 4)))  # <<culprit
    loss = -torch.log(out[0, step % 3] + 0.1)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
