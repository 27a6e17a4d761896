"""A recurrent forecaster that carries its state from one chunk of a long series to the next.

Without gradpm the first chunk trains, and the second ends in a traceback at `backward()`. The
advice in it, retain_graph=True, only leads to another error here:

    RuntimeError: Trying to backward through the graph a second time
"""

import torch
from torch import nn

torch.manual_seed(0)


class Forecaster(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(1, 16, batch_first=True)
        self.out = nn.Linear(16, 1)
        self.state = None

    def forward(self, chunk):  # (B, T, 1) -> (B, T, 1)
        h, self.state = self.rnn(chunk, self.state)
        return self.out(h)


model = Forecaster()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
series = torch.sin(torch.linspace(0, 20, 121)).repeat(4, 1)[..., None]  # (4, 121, 1)

for start in range(0, 120, 20):
    chunk, ahead = series[:, start : start + 20], series[:, start + 1 : start + 21]
    loss = nn.functional.mse_loss(model(chunk), ahead)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print("chunk at", start, "loss", round(loss.item(), 3))
