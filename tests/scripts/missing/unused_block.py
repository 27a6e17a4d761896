import torch
from torch import nn


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Linear(3, 2)
        self.up = nn.Linear(2, 3)

    def forward(self, x):
        return x * torch.sigmoid(self.up(self.down(x)))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.gates = nn.ModuleList([Gate() for _ in range(2)])
        self.last = Gate()  # <<culprit

    def forward(self, x):
        for gate in self.gates:
            x = gate(x)
        return x


torch.manual_seed(0)
model = Model()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    loss = model(torch.randn(4, 3)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
