import copy

import torch
from torch import nn

torch.manual_seed(0)
online = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
target = copy.deepcopy(online)
optimizer = torch.optim.Adam(online.parameters(), lr=0.01)
for _ in range(6):
    state = torch.randn(16, 3)
    with torch.no_grad():
        best = target(state).max(dim=1).values
    value = online(state).gather(1, torch.randint(0, 2, (16, 1))).squeeze(1)
    loss = (value - best).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        for old, new in zip(target.parameters(), online.parameters()):
            old.lerp_(new, 0.1)
