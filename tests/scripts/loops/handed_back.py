"""autograd.grad gives the gradients back, and the step looks for them in .grad."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)

net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
optimizer = torch.optim.Adam(net.parameters())
for _ in range(6):
    x = torch.randn(8, 3)
    loss = F.mse_loss(net(x), x[:, :1])
    grads = torch.autograd.grad(loss, list(net.parameters()))  # <<second
    norm = torch.stack([g.norm() for g in grads]).norm()
    optimizer.step()  # <<culprit
print(norm.item())
