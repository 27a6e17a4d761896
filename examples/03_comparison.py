"""A network that learns which of its features to let through.

Without gradpm the script ends well: status 0, no warning, a falling loss. The part that should
decide what to keep stays as it was initialised:

    router.weight changed: False
"""

import torch
from torch import nn

torch.manual_seed(0)


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Linear(10, 24)
        self.router = nn.Linear(10, 24)
        self.out = nn.Linear(24, 1)

    def forward(self, x):  # (B, 10) -> (B,)
        h = torch.relu(self.features(x))
        score = torch.sigmoid(self.router(x))
        keep = (score > 0.5).float()
        return self.out(h * keep).squeeze(-1)


model = Gated()
before = model.router.weight.clone()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
x = torch.randn(64, 10)
y = x[:, 0] * (x[:, 1] > 0)

for _ in range(30):
    loss = nn.functional.mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

print("router.weight changed:", not torch.equal(before, model.router.weight))
