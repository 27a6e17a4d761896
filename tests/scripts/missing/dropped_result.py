import torch
from torch import nn

torch.manual_seed(0)


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.gate = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        h = self.body(x)
        h.mul(torch.sigmoid(self.gate(x)))  # <<culprit
        return h


model = Gated()
optimizer = torch.optim.Adam(model.parameters())
for _ in range(3):
    loss = model(torch.randn(5, 3)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
