"""A Wasserstein critic whose weights are clipped after each step.

Without gradpm the first step ends in a traceback, whose last line says what torch refuses but
neither which tensor nor why it matters:

    RuntimeError: a leaf Variable that requires grad is being used in an in-place operation.

Folklore has it that a leaf changed in place gets no gradient. It does not come that far.
"""

import torch
from torch import nn

torch.manual_seed(0)

critic = nn.Sequential(nn.Linear(8, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
optimizer = torch.optim.RMSprop(critic.parameters(), lr=5e-4)


def clip_weights(module, limit):
    for weight in module.parameters():
        weight.clamp_(-limit, limit)


for step in range(5):
    real, fake = torch.randn(16, 8) + 1.0, torch.randn(16, 8)
    loss = critic(fake).mean() - critic(real).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    clip_weights(critic, 0.01)
    print("step", step, "loss", round(loss.item(), 3))
