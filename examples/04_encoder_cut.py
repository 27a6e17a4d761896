"""A caption scorer: the encoder sits inside a bigger model, its pooling inside the encoder.

Without gradpm the script ends well: status 0, no warning, and the loss falls, since the text side
learns. A count shows that most of the ten parameters get nothing:

    6 parameters have no gradient
"""

import torch
from torch import nn

torch.manual_seed(0)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(12, 16)
        self.blocks = nn.ModuleList(nn.Linear(16, 16) for _ in range(2))

    def pool(self, h, padding):  # (B, T, 16), (B, T) -> (B, 16)
        h = h.data
        h[padding] = 0
        return h.mean(1)

    def forward(self, patches, padding):
        h = self.stem(patches)
        for block in self.blocks:
            h = h + torch.relu(block(h))
        return self.pool(h, padding)


vision = nn.ModuleDict({"encoder": Encoder(), "project": nn.Linear(16, 8)})
model = nn.ModuleDict({"vision": vision, "words": nn.Linear(20, 8)})
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
patches, words, padding = torch.randn(6, 5, 12), torch.randn(6, 20), torch.rand(6, 5) < 0.3

for _ in range(15):
    image = vision["project"](vision["encoder"](patches, padding))
    loss = nn.functional.cross_entropy(image @ model["words"](words).T, torch.arange(6))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

print(sum(p.grad is None for p in model.parameters()), "parameters have no gradient")
