"""A spring so stiff that each step of the simulation throws it further out."""

import torch
from torch import nn

torch.manual_seed(0)

stiffness = nn.Parameter(torch.tensor(8.0))
optimizer = torch.optim.SGD([stiffness], lr=1e-30)
for _ in range(5):
    x, v = torch.ones(4), torch.zeros(4)
    for _ in range(10):
        v = v - 1.5 * stiffness * x  # <<culprit
        x = x + 1.5 * v
    loss = x.pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
