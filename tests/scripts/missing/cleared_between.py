import torch
from torch import nn

torch.manual_seed(0)
body, age, kind = nn.Linear(3, 4), nn.Linear(4, 1), nn.Linear(4, 2)
optimizer = torch.optim.SGD([*body.parameters(), *age.parameters(), *kind.parameters()], lr=0.1)
for _ in range(3):
    h = body(torch.randn(4, 3))
    optimizer.zero_grad()
    age(h).pow(2).mean().backward(retain_graph=True)
    optimizer.zero_grad()  # <<culprit
    kind(h).pow(2).mean().backward()
    optimizer.step()  # <<second
