import torch
from torch import nn

torch.manual_seed(0)
model = nn.Linear(3, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
clean = torch.rand(4, 3)
noisy = clean + 0.1
output = model(noisy)  # <<second
loss = (noisy - clean).pow(2).mean()  # <<culprit
loss.backward()
