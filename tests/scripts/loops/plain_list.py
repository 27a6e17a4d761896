"""Layers in a plain list are nobody's parameters."""

import torch
from torch import nn

torch.manual_seed(0)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(5, 6)
        self.blocks = [nn.Linear(6, 6) for _ in range(2)]  # <<second

    def forward(self, x):
        h = self.stem(x)
        for block in self.blocks:
            h = torch.tanh(block(h))
        return h


net = Net()
optimizer = torch.optim.Adam(net.parameters())  # <<culprit
for _ in range(5):
    loss = net(torch.randn(8, 5)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
