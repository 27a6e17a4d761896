import torch
from torch.utils._python_dispatch import TorchDispatchMode

seen = []


class Watch(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        seen.append(str(func))
        return func(*args, **(kwargs or {}))


torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1))
optimizer = torch.optim.Adam(model.parameters())
with Watch():
    for _ in range(4):
        optimizer.zero_grad()
        loss = model(torch.randn(4, 2)).sqrt().nan_to_num().sum().log()
        loss.backward()
        optimizer.step()
        float(loss)
print(len(seen))
print(*seen, sep="\n")
from torch.utils.flop_counter import FlopCounterMode

with FlopCounterMode(display=False) as flops:
    model(torch.randn(4, 2)).sum().backward()
print(flops.get_total_flops())
