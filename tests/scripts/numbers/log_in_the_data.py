"""A logarithm of zero, before any parameter is met; its result is long gone by then."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)


def features(counts):
    logs = torch.log(counts)  # <<culprit
    return logs - logs.mean(dim=0)


counts = torch.randint(0, 9, (40, 4)).float()
data = features(counts)
net = nn.Linear(4, 1)
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
for _ in range(3):
    loss = F.mse_loss(net(data), counts[:, :1])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
