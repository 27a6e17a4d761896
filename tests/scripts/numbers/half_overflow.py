"""Under autocast a product leaves float16; the one before it cannot have."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(8, 32), nn.Linear(32, 1)

    def forward(self, x):
        h = self.up(x)
        h = h * h.sigmoid()
        h = h * 400  # <<culprit
        return self.down(h)


net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=1e-4)
for _ in range(3):
    with torch.autocast("cpu", dtype=torch.float16):
        loss = F.mse_loss(net(torch.rand(8, 8) * 900).float(), torch.rand(8, 1))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
