"""The second step applies the same gradient once more."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)

net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
optimizer = torch.optim.Adam(net.parameters())


def train_step(x):
    loss = F.mse_loss(net(x), x[:, :1])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()  # <<second


for _ in range(6):
    train_step(torch.randn(8, 3))
    optimizer.step()  # <<culprit
