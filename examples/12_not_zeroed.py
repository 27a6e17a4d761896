"""Regression by a plain loop with a gentle learning rate.

Without gradpm the script ends well: status 0, no warning. The loss falls for a few epochs, then
swings up and down for ever; a lower learning rate only makes the swings slower:

    best loss in epoch 7 of 100
"""

import torch
from torch import nn

torch.manual_seed(0)

model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
x = torch.randn(128, 6)
y = x @ torch.randn(6, 1) + 0.1 * torch.randn(128, 1)

losses = []
for _ in range(100):
    prediction = model(x)
    loss = nn.functional.mse_loss(prediction, y)
    loss.backward()
    optimizer.step()
    losses.append(loss.item())

print("best loss in epoch", losses.index(min(losses)), "of", len(losses))
