import torch

torch.manual_seed(0)


@torch.compile(backend="eager")
def f(x):
    return (x.sin() * 2).sum()


model = torch.nn.Linear(3, 1)
fast = torch.compile(model, backend="eager")
x = torch.ones(2, 3, requires_grad=True)
for _ in range(2):
    f(fast(x)).backward()
print(x.grad, model.weight.grad, type(fast).__name__, list(fast.state_dict()), f.__name__)
model.compile(backend="eager")
print(model(x).sum().item().hex())
