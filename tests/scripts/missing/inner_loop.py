"""Fast weights are made new leaves; autograd.grad in the inner loop is no substitute for .grad."""

import torch
import torch.nn as nn
from torch.func import functional_call

net = nn.Linear(2, 1)
meta = torch.optim.Adam(net.parameters())
for _ in range(3):
    x = torch.randn(8, 2)
    slow = dict(net.named_parameters())
    inner = functional_call(net, slow, (x,)).square().mean()
    grads = torch.autograd.grad(inner, list(slow.values()))
    fast = {
        name: (weight - 0.1 * grad).detach().requires_grad_()  # <<culprit
        for (name, weight), grad in zip(slow.items(), grads, strict=True)
    }
    outer = functional_call(net, fast, (x,)).sum()
    meta.zero_grad()
    outer.backward()
    meta.step()
