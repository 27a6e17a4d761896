"""A two-task network: depth and surface normals from the same trunk.

Without gradpm the script ends well: status 0, no warning, both losses fall. The second head is as
it was initialised (and under DistributedDataParallel the second step would raise):

    normals.weight.grad is None
"""

import torch
from torch import nn

torch.manual_seed(0)


class TwoTasks(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(18, 32), nn.GELU())
        self.depth = nn.Linear(32, 3)
        self.normals = nn.Linear(32, 3)

    def forward(self, x):  # (B, 18) -> (B, 3), (B, 3)
        h = self.trunk(x)
        return self.depth(h), self.depth(h.flip(-1))


model = TwoTasks()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
x, depth, normals = torch.randn(32, 18), torch.rand(32, 3), torch.randn(32, 3)

for _ in range(20):
    guessed_depth, guessed_normals = model(x)
    loss = nn.functional.l1_loss(guessed_depth, depth)
    loss = loss + 0.5 * nn.functional.mse_loss(guessed_normals, normals)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

print("normals.weight.grad is", model.normals.weight.grad)
