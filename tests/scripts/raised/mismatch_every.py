import torch
from torch import nn

model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(4):
    x = torch.randn(8, 4, dtype=torch.float64)  # second
    try:
        loss = model(x).pow(2).mean()  # culprit
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    except RuntimeError:
        continue
