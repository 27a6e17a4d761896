"""Contrastive training with a temperature that should be learned.

Without gradpm the script ends well: status 0, no warning, and a falling loss, since the two towers
learn. The temperature never moves from where it began:

    temperature 0.0700
"""

import math

import torch
from torch import nn

torch.manual_seed(0)


class Towers(nn.Module):
    def __init__(self):
        super().__init__()
        self.image = nn.Linear(24, 8)
        self.text = nn.Linear(16, 8)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, images, texts):  # (B, 24), (B, 16) -> (B, B)
        a = nn.functional.normalize(self.image(images), dim=-1)
        b = nn.functional.normalize(self.text(texts), dim=-1)
        scale = min(self.log_scale.exp().item(), 100.0)
        return scale * a @ b.T


model = Towers()
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
images, texts = torch.randn(16, 24), torch.randn(16, 16)
pairs = torch.arange(16)

for _ in range(20):
    logits = model(images, texts)
    loss = nn.functional.cross_entropy(logits, pairs)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

print(f"temperature {math.exp(-model.log_scale.item()):.4f}")
