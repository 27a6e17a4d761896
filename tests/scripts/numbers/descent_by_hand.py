"""Gradient descent by hand with steps too long."""

import torch

x = torch.linspace(0, 10, 20)
weight = torch.zeros(1, requires_grad=True)
for _ in range(20):
    loss = ((x * weight - x) ** 2).mean()
    loss.backward()
    with torch.no_grad():
        weight -= 0.2 * weight.grad  # <<culprit
        weight.grad = None
