import torch
from torch import nn

layer = nn.Linear(3, 3)


def activate(x):
    h = torch.sigmoid(layer(x))  # second
    h.detach().mul_(2.0)  # culprit
    return h


for step in range(6):
    loss = activate(torch.randn(4, 3)).sum() if step == 4 else layer(torch.randn(4, 3)).sum()
    loss.backward()
