import torch
from torch import nn

encoder, decoder = nn.Linear(3, 2), nn.Linear(2, 3)
z = encoder(torch.randn(4, 3))
copy = z.detach().clone()  # second
out = decoder(copy).sum()
(grad,) = torch.autograd.grad(out, z)  # culprit
