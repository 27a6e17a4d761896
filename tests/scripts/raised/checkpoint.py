import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.calls = nn.Linear(4, 4), 0

    def forward(self, x):
        self.calls += 1
        h = self.fc(x)
        if self.calls % 2:  # culprit
            h = torch.sigmoid(h) * h
        return h.tanh()


block = Block()
checkpoint(block, torch.randn(2, 4), use_reentrant=False).sum().backward()  # second
