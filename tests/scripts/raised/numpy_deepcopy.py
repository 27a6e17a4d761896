import copy

import numpy as np
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.cache = nn.Linear(3, 3), {}

    def forward(self, x):
        h = self.fc(x)
        self.cache["h"] = h  # culprit
        return h.relu()


model = Net()
out = model(torch.randn(2, 3))
try:
    np.asarray(out)
except RuntimeError:
    np.asarray(out.detach())
best = copy.deepcopy(model)  # second
