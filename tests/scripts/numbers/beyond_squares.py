"""Gradients whose squares overflow, or vanish, in their own type; they themselves do not."""

import torch
from torch import nn

large, small = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
for _ in range(3):
    large.grad = small.grad = None
    (large * 1e25).sum().backward()
    (small * 1e-30).sum().backward()
