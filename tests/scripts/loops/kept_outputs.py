"""A list of outputs with their graphs."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)

net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
optimizer = torch.optim.Adam(net.parameters())
outputs = []
for _ in range(30):
    x = torch.randn(8, 3)
    out = net(x)
    loss = F.mse_loss(out, x[:, :1])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    outputs.append(out)  # <<culprit
