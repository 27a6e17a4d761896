import gc
import weakref

import torch


def batches():
    for at in range(3):
        x = torch.full((2,), float(at), requires_grad=True)
        yield x.exp()


refs = []
for batch in batches():
    refs.append(weakref.ref(batch))
    batch.sum().backward()
    print([ref() is None for ref in refs])
del batch
print([ref() is None for ref in refs])
source = batches()
first = next(source)
ref = weakref.ref(first)
del first
print(ref() is None, source.gi_frame.f_locals.keys(), source.gi_frame.f_trace)
source.close()


async def later(x):
    return x * 2


try:
    later(torch.ones(2, requires_grad=True)).send(None)
except StopIteration as stop:
    stop.value.sum().backward()
    print(stop.value)


def fails():
    yield torch.ones(2)
    torch.ones(2) @ torch.ones(3)


try:
    list(fails())
except RuntimeError as error:
    print(
        error,
        error.__traceback__.tb_next.tb_frame.f_code.co_name,
        error.__traceback__.tb_next.tb_next,
    )
print(gc.collect() >= 0)
