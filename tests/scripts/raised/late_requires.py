import torch
from torch import nn

critic = nn.Linear(3, 1)
mix = torch.rand(4, 3) * 2
score = critic(mix).tanh()  # second
mix.requires_grad_()
(grad,) = torch.autograd.grad(score.sum(), mix, create_graph=True)  # culprit
