import gc

import torch


def alive():
    gc.collect()
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


print(alive())
model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
optimizer = torch.optim.Adam(model.parameters())
counts = []
for _ in range(12):
    loss = model(torch.randn(2, 4)).pow(2).sum()
    counts.append(alive())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    counts.append(alive())
print(counts)


def locals_die():
    h = model[0](torch.randn(2, 4))
    kept = [h * at for at in range(5)]
    return sum(kept).sum()


locals_die().backward()
print(alive())
try:
    big = torch.randn(5, 5)
    model(big)
except RuntimeError:
    pass
del big, loss
print(alive())
