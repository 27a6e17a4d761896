"""A record of the numpy data is infinite, and a linear layer meets it in the second batch."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

torch.manual_seed(0)

values = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
values[13, 1] = np.inf


class Records(Dataset):
    def __len__(self):
        return len(values)

    def __getitem__(self, at):
        row = torch.from_numpy(values[at])  # <<culprit
        return row


net = nn.Linear(3, 1)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for x in DataLoader(Records(), batch_size=8):
    loss = F.mse_loss(net(x), x[:, :1])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
