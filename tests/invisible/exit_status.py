import atexit
import sys

import torch

atexit.register(print, "goodbye", flush=True)
model = torch.nn.Linear(2, 1)
model(torch.ones(1, 2)).sum().backward()
print(model.weight.grad)
sys.exit(7)
