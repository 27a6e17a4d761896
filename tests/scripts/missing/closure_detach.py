"""LBFGS runs the forward inside its step: the closure's cut is one all the same."""

import torch

x = torch.linspace(0, 1, 8)
a, b = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
optimizer = torch.optim.LBFGS([a, b], max_iter=3)


def closure():
    optimizer.zero_grad()
    loss = (x * a.detach() + b - 2 * x - 1).square().mean()  # <<culprit
    loss.backward()
    return loss


for _ in range(2):
    optimizer.step(closure)
