"""A row masked throughout: the -inf is meant, the NaN of the softmax is not."""

import torch
from torch import nn

torch.manual_seed(0)

net = nn.Linear(5, 5)
optimizer = torch.optim.Adam(net.parameters())
for step in range(4):
    x = torch.randn(6, 5)
    mask = torch.rand(6, 5) < 0.3
    mask[2] = step == 1
    scores = net(x).masked_fill(mask, float("-inf"))  # <<second
    weights = torch.softmax(scores, dim=1)  # <<culprit
    loss = (weights * x).sum(dim=1).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
