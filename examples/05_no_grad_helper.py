"""A siamese network that reuses, in training, the helper written for evaluation.

Without gradpm the script ends well: status 0, no warning. The loss creeps down, because the one
weight behind the helper learns, and the network itself is still the one it began as:

    encoder changed: False
"""

import torch
from torch import nn

torch.manual_seed(0)

encoder = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 8))
scale = nn.Parameter(torch.tensor(1.0))
before = encoder[0].weight.clone()
optimizer = torch.optim.Adam([*encoder.parameters(), scale], lr=1e-2)


@torch.no_grad()
def embed(network, images):  # (B, 12) -> (B, 8), of length one
    z = network(images)
    return z / z.norm(dim=-1, keepdim=True)


left = torch.randn(32, 12)
right = left + 0.1 * torch.randn(32, 12)

for _ in range(20):
    similarity = scale * embed(encoder, left) @ embed(encoder, right).T  # (B, B)
    loss = nn.functional.cross_entropy(similarity, torch.arange(32))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

print("encoder changed:", not torch.equal(before, encoder[0].weight))
