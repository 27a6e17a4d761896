import torch
from torch import nn


class Leak(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, alpha):
        ctx.save_for_backward(x, alpha)
        return torch.where(x > 0, x, alpha * x)

    @staticmethod
    def backward(ctx, grad):
        x, alpha = ctx.saved_tensors
        return torch.where(ctx.mask, grad, alpha * grad), (grad * x).sum()  # culprit


alpha = nn.Parameter(torch.tensor(0.2))
optimizer = torch.optim.SGD([alpha], lr=0.1)
loss = Leak.apply(torch.randn(4), alpha).sum()  # second
loss.backward()
