import torch
from torch import nn

model = nn.Linear(3, 1)
target = torch.zeros(4, dtype=torch.float64)  # second
prediction = model(torch.randn(4, 3)).squeeze(-1)
loss = nn.functional.huber_loss(prediction, target)  # culprit
loss.backward()
