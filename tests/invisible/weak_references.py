import gc
import sys
import weakref

import torch

gc.disable()


class Held:
    pass


def make():
    x = torch.ones(3, requires_grad=True)
    y = x.exp()
    held = Held()
    y.held = held
    return weakref.ref(x), weakref.ref(y), weakref.ref(held), y.sum()


x, y, held, loss = make()
print(x() is None, y() is None, held() is None)
loss.backward()
print(x() is None, y() is None, held() is None)
del loss
print(x() is None, y() is None, held() is None)
big = torch.ones(1000)
print(sys.getrefcount(big), len(weakref.getweakrefs(Held())))
died = []
weakref.finalize(big, died.append, "big")
view = big[2:]
del big
print(died, view._base is not None)
del view
print(died)
model = torch.nn.Linear(2, 2)
gone = (
    weakref.ref(model),
    weakref.ref(model.weight),
    weakref.ref(optimizer := torch.optim.SGD(model.parameters(), 0.1)),
)
model(torch.ones(1, 2)).sum().backward()
optimizer.step()
del model, optimizer
print([ref() is None for ref in gone], gc.collect() >= 0, [ref() is None for ref in gone])
try:
    local = torch.ones(2)
    seen = weakref.ref(local)
    local @ torch.ones(3)
except RuntimeError as error:
    del local
    print(seen() is None)
print(seen() is None)
