"""A stop-gradient between two losses, a frozen backbone, gradients that a hook applies itself."""

import torch
from torch import nn

torch.manual_seed(0)
backbone = nn.Linear(3, 4).requires_grad_(False)
actor, critic, table = nn.Linear(4, 1), nn.Linear(4, 1), nn.Embedding.from_pretrained(
    torch.randn(5, 4), freeze=True
)  # fmt: skip
optimizer = torch.optim.SGD([*actor.parameters(), *critic.parameters(), *table.parameters()], 0.1)


def update(parameter):
    parameter.data.sub_(0.1 * parameter.grad)
    parameter.grad = None


own = nn.Parameter(torch.ones(4))
own.register_post_accumulate_grad_hook(update)
for _ in range(3):
    h = backbone(torch.randn(8, 3)) * own + table(torch.tensor([1]))
    value, returns = critic(h), torch.randn(8, 1)
    actor_loss = (actor(h) * (returns - value.detach())).mean()
    critic_loss = (value - returns).pow(2).mean()
    optimizer.zero_grad()
    actor_loss.backward(retain_graph=True)
    critic_loss.backward()
    optimizer.step()
    total_loss = actor_loss + critic_loss
