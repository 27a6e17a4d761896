import torch
from torch import nn

torch.manual_seed(0)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.used = nn.Linear(3, 1)
        self.spare = nn.Linear(3, 1)  # <<culprit

    def forward(self, x):
        return self.used(x)


model = Two().to("cpu")
optimizer = torch.optim.Adam(model.parameters())
for _ in range(3):
    loss = model(torch.randn(5, 3)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
