"""A custom Function whose backward divides by a norm of 0, from the third step on."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)


class Unit(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        norm = x.norm(dim=1, keepdim=True)
        y = x / norm.clamp(min=1e-12)
        ctx.save_for_backward(y, norm)
        return y

    @staticmethod
    def backward(ctx, grad):
        y, norm = ctx.saved_tensors
        return (grad - y * (grad * y).sum(1, keepdim=True)) / norm  # <<second


net = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Identity(), nn.Linear(3, 2))
optimizer = torch.optim.Adam(net.parameters())
for step in range(5):
    x = torch.randn(6, 4)
    x[2] *= step < 2
    unit = Unit.apply(net[0](x))  # <<culprit
    loss = F.cross_entropy(net[2](unit), torch.zeros(6, dtype=torch.long))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
