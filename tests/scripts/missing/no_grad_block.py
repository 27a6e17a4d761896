import torch
from torch import nn

torch.manual_seed(0)
encoder, head = nn.Linear(4, 8), nn.Linear(8, 1)
optimizer = torch.optim.SGD([*encoder.parameters(), *head.parameters()], lr=0.1)
for _ in range(3):
    with torch.no_grad():  # <<second
        h = encoder(torch.randn(6, 4))  # <<culprit
    loss = head(h.relu().to(encoder.weight)).pow(2).mean()  # whose value goes nowhere
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
