"""The loss is finite: an exponential overflows in the forward and spoils the backward."""

import torch
from torch import nn

torch.manual_seed(0)

net = nn.Linear(4, 3)
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
for step in range(8):
    x = torch.randn(16, 4)
    if step == 5:
        x[3] *= 400
    powers = net(x).exp()  # <<culprit
    shares = powers / powers.sum(dim=1, keepdim=True)
    loss = -(shares[:, 0] + 1e-6).log().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
