import os

import torch
import torch.distributed as dist
from torch import nn

os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=os.environ.get("TEST_PORT", "29571"))
dist.init_process_group("gloo", rank=0, world_size=1)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.used = nn.Linear(3, 1)
        self.extra = nn.Linear(3, 3)  # culprit

    def forward(self, x):
        return self.used(x)


model = nn.parallel.DistributedDataParallel(Net())
for _ in range(2):
    model(torch.randn(4, 3)).sum().backward()
