import torch
from torch import nn


class Running(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.scale = torch.ones(3)
        self.calls = 0

    def forward(self, x):
        h = self.fc(x)
        self.calls += 1
        if self.calls > 5:
            self.scale = 0.9 * self.scale + 0.1 * h.pow(2).mean(0)  # culprit
        return h / self.scale.sqrt()


model = Running()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for _ in range(20):
    loss = model(torch.randn(5, 3)).exp().mean()
    optimizer.zero_grad()
    loss.backward()  # second
    optimizer.step()
