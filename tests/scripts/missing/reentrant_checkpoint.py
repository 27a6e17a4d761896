import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

torch.manual_seed(0)
stem, head = nn.Linear(3, 4), nn.Linear(4, 1)
optimizer = torch.optim.SGD([*stem.parameters(), *head.parameters()], lr=0.1)
for _ in range(3):
    optimizer.zero_grad()
    h = checkpoint(stem, torch.randn(5, 3), use_reentrant=True)  # <<culprit
    head(h).pow(2).mean().backward()
    optimizer.step()
