import torch
from torch import nn

torch.manual_seed(0)
model = nn.Linear(3, 1)
norms = []


def log(parameter):
    norms.append(parameter.grad.norm().item())
    parameter.grad = None  # <<culprit


for parameter in model.parameters():
    parameter.register_post_accumulate_grad_hook(log)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    loss = model(torch.randn(4, 3)).pow(2).mean()
    loss.backward()
    optimizer.step()  # <<second
