"""float8, complex half and nested tensors, with which torch can compute next to nothing."""

import torch


class Small(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.to(torch.float8_e4m3fn)

    @staticmethod
    def backward(ctx, grad):
        print(grad.dtype)
        return grad.float()


x = torch.ones(4, requires_grad=True)
Small.apply(x).to(torch.float32).sum().backward()
leaf = torch.ones(4).to(torch.float8_e5m2).requires_grad_()
(leaf.to(torch.float32) * float("nan")).sum().backward()
half = torch.ones(2, dtype=torch.complex32, requires_grad=True)
half.to(torch.complex64).abs().sum().backward()
ragged = [torch.ones(2), torch.ones(1)]
nested = torch.nested.nested_tensor(ragged, requires_grad=True)
(torch.relu(nested * 2) * float("nan")).to_padded_tensor(0).sum().backward()
print(x.grad, leaf.grad, half.grad, nested.grad)
