import torch
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

calls = []


def block(x, w):
    calls.append(torch.is_grad_enabled())
    return torch.nn.functional.dropout((x @ w).relu(), 0.5)


for reentrant in (True, False):
    torch.manual_seed(2)
    x = torch.randn(3, 3, requires_grad=True)
    w = torch.randn(3, 3, requires_grad=True)
    y = checkpoint(
        block, checkpoint(block, x, w, use_reentrant=reentrant), w, use_reentrant=reentrant
    )
    y.sum().backward()
    print(reentrant, x.grad.sum().item().hex(), w.grad.sum().item().hex(), calls)
    calls.clear()
model = torch.nn.Sequential(*[torch.nn.Linear(3, 3) for _ in range(4)])
checkpoint_sequential(model, 2, x, use_reentrant=False).sum().backward()
print([p.grad is not None for p in model.parameters()])
flip = []


def unstable(x):
    flip.append(1)
    return x.exp() if len(flip) % 2 else x.sin().exp()


try:
    checkpoint(unstable, x, use_reentrant=False).sum().backward()
except Exception as error:
    print(type(error), str(error)[:80])
try:
    checkpoint(lambda x: x @ torch.ones(9), x, use_reentrant=False)
except RuntimeError as error:
    print(error, error.__traceback__.tb_next is not None)
