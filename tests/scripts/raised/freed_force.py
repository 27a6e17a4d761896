import torch
from torch import nn

net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
optimizer = torch.optim.Adam(net.parameters())
r = torch.randn(5, 3, requires_grad=True)
energy = net(r).sum()  # culprit
force = -torch.autograd.grad(energy, r)[0]  # second
loss = (energy - 1) ** 2 + force.detach().pow(2).mean()
loss.backward()
