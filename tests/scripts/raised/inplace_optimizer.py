import torch
from torch import nn

body, actor, critic = nn.Linear(3, 8), nn.Linear(8, 2), nn.Linear(8, 1)
critic_opt = torch.optim.AdamW([*body.parameters(), *critic.parameters()], foreach=True)
h = body(torch.randn(5, 3, requires_grad=True)).tanh()  # second
value_loss, policy_loss = critic(h).pow(2).mean(), actor(h).logsumexp(-1).mean()
value_loss.backward(retain_graph=True)
critic_opt.step()  # culprit
policy_loss.backward()
