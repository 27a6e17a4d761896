"""A tagger that keeps its last hidden states for a plot.

Without gradpm the script ends well: status 0, no warning, and the loss falls, because the head
fits the data by itself. Only a look at the gradients shows that something is missing:

    words.weight.grad is None
"""

import torch
from torch import nn

torch.manual_seed(0)


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(50, 16)
        self.mix = nn.Linear(16, 16)
        self.head = nn.Linear(16, 4)
        self.last_hidden = None

    def remember(self, h):
        self.last_hidden = h.detach()
        return self.last_hidden

    def forward(self, text):  # (B, T) -> (B, T, 4)
        h = torch.tanh(self.mix(self.words(text)))
        return self.head(self.remember(h))


model = Tagger()
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
text, tags = torch.randint(0, 50, (8, 6)), torch.randint(0, 4, (8, 6))

for _ in range(20):
    loss = nn.functional.cross_entropy(model(text).flatten(0, 1), tags.flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

print("words.weight.grad is", model.words.weight.grad)
