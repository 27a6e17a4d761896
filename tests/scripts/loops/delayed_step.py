"""The actor's backward runs every second time, its step every time."""

import torch
from torch import nn

torch.manual_seed(0)

actor, critic = nn.Linear(3, 2), nn.Linear(2, 1)
actor_optimizer = torch.optim.Adam(actor.parameters())
critic_optimizer = torch.optim.Adam(critic.parameters())
for step in range(12):
    x = torch.randn(8, 3)
    error = (critic(x[:, :2]) - x[:, 2:]).pow(2).mean()
    critic_optimizer.zero_grad()
    error.backward()
    critic_optimizer.step()
    if step % 2 == 0:
        actor_optimizer.zero_grad()
        (-critic(actor(x)).mean()).backward()  # <<second
    actor_optimizer.step()  # <<culprit
