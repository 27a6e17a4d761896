import os

import torch

x = torch.ones(2, requires_grad=True)
for _ in range(3):
    (x * x).sum().backward()
print(x.grad, os._exit.__name__, flush=True)
os._exit(5)
