import torch
from torch.overrides import TorchFunctionMode

seen = []


class Watch(TorchFunctionMode):
    def __init__(self, name):
        self.name = name

    def __torch_function__(self, func, types, args=(), kwargs=None):
        seen.append(
            (
                self.name,
                getattr(func, "__name__", str(func)),
                [t.__name__ for t in types],
                len(args),
                sorted(kwargs or {}),
            )
        )
        return func(*args, **(kwargs or {}))


model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.LayerNorm(3))
with Watch("outer"):
    y = model(torch.ones(1, 2))
    with Watch("inner"):
        z = torch.nn.functional.softmax(y, dim=-1).sum()
        z.backward()
        z.item(), z.shape, z.grad_fn, z.requires_grad, str(z.detach())
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        optimizer.step()
        torch.func.grad(lambda t: (t * t).sum())(torch.ones(2))
        list(torch.ones(2))
        with torch.no_grad(), torch.autocast("cpu"):
            torch.ones(2, 2) @ torch.ones(2, 2)
print(len(seen))
print(*seen, sep="\n")
with torch.device("meta"):
    print(torch.ones(2).device, torch.nn.Linear(2, 2).weight.device)
print(torch.overrides.is_tensor_method_or_property(torch.Tensor.add))
