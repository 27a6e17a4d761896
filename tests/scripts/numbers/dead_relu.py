"""Every unit is off from the start; what is behind gets zeros, and so does what takes its zeros."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(5, 8)
        self.out = nn.Linear(8, 1)
        nn.init.constant_(self.hidden.bias, -50.0)

    def forward(self, x):
        h = torch.relu(self.hidden(x))  # <<culprit
        return self.out(h)


net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
for _ in range(6):
    x = torch.randn(12, 5)
    loss = F.mse_loss(net(x), x[:, :1])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
