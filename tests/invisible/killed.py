import os
import signal

import torch

x = torch.ones(2, requires_grad=True)
(x * x).sum().backward()
print(x.grad, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
