"""Two equal inputs in step 30: the distance is 0 and the derivative of its root infinite."""

import torch
from torch import nn

torch.manual_seed(0)

net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
optimizer = torch.optim.Adam(net.parameters())
for step in range(40):
    a, b = torch.randn(8, 4), torch.randn(8, 4)
    if step == 30:
        b[2] = a[2]
    difference = net(a) - net(b)
    distance = difference.pow(2).sum(dim=1).sqrt()  # <<culprit
    loss = (distance - 1).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
