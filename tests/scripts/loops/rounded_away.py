"""bfloat16 weights, and updates below their last bit."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)

net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).bfloat16()
with torch.no_grad():
    for p in net.parameters():
        p.fill_(1.0)
optimizer = torch.optim.SGD(net.parameters(), lr=1e-6)  # <<culprit
for _ in range(9):
    x = torch.randn(8, 3).bfloat16()
    loss = F.mse_loss(net(x), x[:, :1])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
