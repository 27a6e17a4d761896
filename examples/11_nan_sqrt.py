"""Points spread over the plane by pushing near pairs apart.

Without gradpm the script ends well: status 0, no warning. The first loss is an ordinary number, and
every later one is not:

    step 1 loss nan
"""

import torch
from torch import nn

torch.manual_seed(0)

layout = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 2))
optimizer = torch.optim.SGD(layout.parameters(), lr=0.1)
items = torch.randn(12, 5)


def distances(points):  # (N, 2) -> (N, N)
    difference = points[:, None] - points[None, :]
    return difference.pow(2).sum(-1).sqrt()


for step in range(4):
    near = torch.relu(1.0 - distances(layout(items)))
    loss = near.triu(diagonal=1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print("step", step, "loss", round(loss.item(), 3))
