"""The critic's target is under no_grad, rightly; the actor draws with sample(), wrongly."""

import torch
import torch.nn as nn
from torch.distributions import Normal

actor, critic = nn.Linear(3, 2), nn.Linear(5, 1)
actor_steps = torch.optim.Adam(actor.parameters())
critic_steps = torch.optim.Adam(critic.parameters())


def act(state):
    return Normal(actor(state), 0.3).sample()  # <<culprit


def q(state, action):
    return critic(torch.cat([state, action], dim=1))


for _ in range(3):
    state, after = torch.randn(8, 3), torch.randn(8, 3)
    with torch.no_grad():
        target = state.sum(1, keepdim=True) + 0.9 * q(after, act(after))
    value_loss = (q(state, torch.rand(8, 2)) - target).square().mean()
    critic_steps.zero_grad()
    value_loss.backward()
    critic_steps.step()
    policy_loss = -q(state, act(state)).mean()
    actor_steps.zero_grad()
    policy_loss.backward()
    actor_steps.step()
