"""The critic's backward is followed by the actor's step: one finding, not two."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)

actor = nn.Linear(3, 1)
net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
actor_optimizer = torch.optim.Adam(actor.parameters())
optimizer = torch.optim.Adam(net.parameters())  # <<culprit
for _ in range(6):
    x = torch.randn(8, 3)
    optimizer.zero_grad()
    F.mse_loss(net(x), x[:, :1]).backward()
    actor_optimizer.step()  # <<second
    actor_optimizer.zero_grad()
    (actor(x) * net(x).detach()).mean().backward()
    actor_optimizer.step()
