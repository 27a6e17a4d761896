"""The maker's optimizer clears twice, the judge's never: the judge's own backward piles up."""

import torch
from torch import nn

torch.manual_seed(0)

make = nn.Linear(2, 2)
net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
make_optimizer = torch.optim.Adam(make.parameters())
judge_optimizer = torch.optim.Adam(net.parameters())
for _ in range(6):
    made = make(torch.randn(16, 2))
    make_optimizer.zero_grad()
    loss = (net(made.detach()).mean() - net(torch.randn(16, 2)).mean()).tanh()
    loss.backward()  # <<culprit
    judge_optimizer.step()
    make_optimizer.zero_grad()
    (-net(made).mean()).backward()
    make_optimizer.step()
