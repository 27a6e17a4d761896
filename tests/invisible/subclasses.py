import torch
from torch.utils._pytree import tree_map

seen = []


class Logged(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        seen.append(getattr(func, "__name__", "?"))
        return super().__torch_function__(func, types, args, kwargs or {})


class Wrapped(torch.Tensor):
    @staticmethod
    def __new__(cls, inner):
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, dtype=inner.dtype, requires_grad=inner.requires_grad
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        seen.append(str(func))
        raw = tree_map(lambda t: t.inner if isinstance(t, Wrapped) else t, (args, kwargs or {}))
        out = func(*raw[0], **raw[1])
        return tree_map(lambda t: Wrapped(t) if isinstance(t, torch.Tensor) else t, out)


class Mixed:
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return func.__name__, [t.__name__ for t in types]


x = torch.ones(3).as_subclass(Logged).requires_grad_()
y = (x * 2).exp()
torch.nn.functional.softmax(y, 0).sum().backward()
print(type(y), type(x.grad), y.shape, len(seen))
w = Wrapped(torch.ones(2, 2)).requires_grad_()
loss = (w @ w).sum()
loss.backward()
print(type(loss), type(w.grad), w.grad.inner)
print(
    torch.add(Mixed(), 1),
    torch.nn.functional.linear(torch.ones(2), Mixed()),
    torch.cat([Mixed(), Mixed()]),
)
print(*seen, sep="\n")
parameter = torch.nn.Parameter(torch.ones(2).as_subclass(Logged))
print(type(parameter), isinstance(parameter, torch.nn.Parameter))
lazy = torch.nn.LazyLinear(3)
print(lazy.weight)
lazy(torch.ones(1, 2)).sum().backward()
print(lazy.weight.shape, type(lazy))
