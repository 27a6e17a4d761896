"""A masked mean over an empty mask, in step 9 of 12; the steps before are fine."""

import torch
from torch import nn

torch.manual_seed(0)

net = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Linear(16, 1))
optimizer = torch.optim.AdamW(net.parameters())
for step in range(12):
    x = torch.randn(8, 6)
    keep = (torch.rand(8) > 0.4).float() * (step != 9)
    errors = (net(x) - x[:, :1]).abs().squeeze(1) * keep
    loss = errors.sum() / keep.sum()  # <<culprit
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
