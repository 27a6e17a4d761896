"""A softmax over a batch of one is 1 for every action; and no reward comes at first."""

import torch
from torch import nn

torch.manual_seed(0)

net = nn.Linear(4, 3)
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
for step in range(8):
    chance = torch.softmax(net(torch.randn(1, 4)), dim=0)  # <<culprit
    reward = float(step > 5)
    loss = -torch.log(chance[0, step % 3]) * reward
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
