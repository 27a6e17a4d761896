import torch
from torch import nn


def unit(v, eps=1e-8):
    length = v.norm(dim=-1, keepdim=True)  # second
    v /= length + eps  # culprit
    return v


net = nn.Linear(4, 3)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
bones = unit(net(torch.randn(6, 4)))
loss = bones.pow(3).sum()
loss.backward()
