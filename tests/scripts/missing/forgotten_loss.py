import torch
from torch import nn


def squared_error(value, returns):
    return (value - returns).pow(2).mean()


torch.manual_seed(0)
actor, critic = nn.Linear(3, 1), nn.Linear(3, 1)
actor_optimizer = torch.optim.SGD(actor.parameters(), lr=0.1)
critic_optimizer = torch.optim.SGD(critic.parameters(), lr=0.1)
for _ in range(3):
    observation, returns = torch.randn(8, 3), torch.randn(8, 1)
    value = critic(observation)
    actor_loss = (actor(observation) * (returns - value.detach())).mean()  # <<second
    critic_loss = squared_error(value, returns)  # <<culprit
    actor_optimizer.zero_grad()
    actor_loss.backward()
    actor_optimizer.step()
    critic_optimizer.step()
