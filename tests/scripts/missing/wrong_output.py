import torch
from torch import nn

torch.manual_seed(0)
attention, head = nn.MultiheadAttention(4, 1, batch_first=True), nn.Linear(5, 1)
optimizer = torch.optim.Adam([*attention.parameters(), *head.parameters()])
for _ in range(3):
    x = torch.randn(2, 5, 4)
    _, weights = attention(x, x, x)  # <<culprit
    loss = head(weights).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
