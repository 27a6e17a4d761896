import torch
from torch import nn

torch.manual_seed(0)


class Drawn(nn.Module):
    def __init__(self):
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))  # <<culprit
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        at = torch.randint(0, len(self.experts) - 1, (1,)).item()
        return self.head(self.experts[at](x))


drawn = Drawn()
optimizer = torch.optim.Adam(drawn.parameters())
for _ in range(20):
    loss = drawn(torch.randn(8, 4)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
