"""Two optimizers over the same network: each clears before its own backward what the other used."""

import torch
from torch import nn

torch.manual_seed(0)
trunk, real, kind = nn.Linear(6, 8), nn.Linear(8, 1), nn.Linear(8, 4)
everything = [*trunk.parameters(), *real.parameters(), *kind.parameters()]
adversarial = torch.optim.Adam(everything, 1e-3)
informed = torch.optim.Adam(everything, 1e-3)
for _ in range(5):
    adversarial.zero_grad()
    real(trunk(torch.randn(5, 6)).relu()).pow(2).mean().backward()
    adversarial.step()

    informed.zero_grad()
    classes = torch.randint(0, 4, (5,))
    nn.functional.cross_entropy(kind(trunk(torch.randn(5, 6)).relu()), classes).backward()
    informed.step()
