"""Integer division makes the rate of all layers but the last 0."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)

net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
layers = [net[0], net[2]]
groups = [
    {"params": layer.parameters(), "lr": 0.1 * ((at + 1) // len(layers))}
    for at, layer in enumerate(layers)
]
optimizer = torch.optim.SGD(groups)  # <<culprit
for _ in range(6):
    x = torch.randn(8, 3)
    loss = F.mse_loss(net(x), x[:, :1])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
