"""A layer that is only the pattern of copies, with no optimizer to say who is to learn."""

import torch
from torch import nn

torch.manual_seed(0)
layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
encoder = nn.TransformerEncoder(layer, 2)
for _ in range(2):
    encoder(torch.randn(2, 3, 8)).pow(2).mean().backward()
