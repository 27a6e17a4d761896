import torch
from torch import nn

torch.manual_seed(0)


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([1.3, 0.7]))
        self.fc = nn.Linear(2, 1)

    def forward(self, x):
        a, b = self.scale.tolist()  # <<culprit
        return self.fc(x * torch.tensor([a, b]))


model = Scaled()
optimizer = torch.optim.Adam(model.parameters())
for _ in range(3):
    loss = model(torch.randn(5, 2)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
