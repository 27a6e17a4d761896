import torch

x = torch.ones(3, requires_grad=True)
y = x * 2


def hook(grad):
    raise KeyError("in a hook")


y.register_hook(hook)
y.sum().backward()
