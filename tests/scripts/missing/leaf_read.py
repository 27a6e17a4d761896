"""An adversarial step: the picture's gradient is read, and the picture was cloned too far."""

import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def forward(picture, noise):
    picture = picture.data.clamp(0, 1)  # <<culprit
    return model(picture + noise.detach())


for _ in range(3):
    picture = torch.rand(4, 6)
    picture.requires_grad_()
    noise = torch.zeros(4, 6, requires_grad=True)
    loss = nn.functional.cross_entropy(forward(picture, noise), torch.tensor([0, 1, 0, 1]))
    optimizer.zero_grad()
    loss.backward()
    if picture.grad is not None:
        print(picture.grad.sign().sum())
    assert noise.grad is None  # on purpose
    optimizer.step()
