import inspect
import sys
import traceback

import torch


class Probe(torch.nn.Module):
    def forward(self, x):
        print([frame.name for frame in traceback.extract_stack()], len(inspect.stack()))
        return x * 2


class Custom(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        print([frame.name for frame in traceback.extract_stack()])
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad


x = torch.ones(2, requires_grad=True)
y = Probe()(x)
y.register_hook(
    lambda g: print([f.name for f in traceback.extract_stack() if "gradpm" in f.filename])
)
y.sum().backward()
sys.settrace(lambda *a: None)
(x * 3).sum().backward()
sys.settrace(None)
print(x.grad)
