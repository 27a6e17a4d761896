import torch
from torch import nn

torch.manual_seed(0)


class Affine(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, mode, w, b):
        ctx.mode = mode
        ctx.save_for_backward(x, w)
        return x * w + b

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        if ctx.mode == "fast":
            return g * w, None, None, g.sum(0)  # <<culprit
        return g * w, None, (g * x).sum(0), g.sum(0)


w, b = nn.Parameter(torch.ones(3)), nn.Parameter(torch.zeros(3))
optimizer = torch.optim.SGD([w, b], lr=0.1)
for _ in range(3):
    optimizer.zero_grad()
    Affine.apply(torch.randn(4, 3), "fast", w, b).pow(2).mean().backward()  # <<second
    optimizer.step()
