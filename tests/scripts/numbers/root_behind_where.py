"""`where` hides the root of 0, and not its derivative."""

import torch
from torch import nn

torch.manual_seed(0)

gain = nn.Parameter(torch.ones(4))
optimizer = torch.optim.SGD([gain], lr=0.1)
for _ in range(4):
    x = torch.rand(4) * torch.tensor([1.0, 0.0, 1.0, 1.0]) * gain
    loss = torch.where(x > 0, torch.sqrt(x), torch.zeros(4)).sum()  # <<culprit
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
