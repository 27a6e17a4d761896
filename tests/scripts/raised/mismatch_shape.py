import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.fc = nn.Linear(100, 10)  # second

    def forward(self, x):
        return self.fc(self.conv(x).relu().flatten(1))  # culprit


Net()(torch.randn(2, 1, 8, 8))
