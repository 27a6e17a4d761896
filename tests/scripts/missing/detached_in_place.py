import torch
from torch import nn

torch.manual_seed(0)
cell, head = nn.GRUCell(3, 4), nn.Linear(4, 1)
optimizer = torch.optim.SGD([*cell.parameters(), *head.parameters()], lr=0.1)
for _ in range(3):
    state = torch.zeros(2, 4)
    for _ in range(2):
        state = cell(torch.randn(2, 3), state)
        state.detach_()  # <<culprit
    loss = head(state).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
