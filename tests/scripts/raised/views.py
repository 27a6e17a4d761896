import torch
from torch import nn

layer = nn.Linear(3, 4)
gate, value = layer(torch.randn(2, 3)).split(2, dim=-1)  # second
gate[:, 0] += 1  # culprit
