import torch
from torch import nn

layer, points = nn.Linear(3, 3), torch.randn(4, 3)
x = torch.randn(5, 3, requires_grad=True)
distance = torch.cdist(layer(x), points, p=1.0)  # culprit
(grad,) = torch.autograd.grad(distance.sum(), x, create_graph=True)  # second
grad.pow(2).sum().backward()
