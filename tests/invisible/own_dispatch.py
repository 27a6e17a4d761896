"""Classes that answer for themselves what is asked of a tensor, and batched gradients."""

import torch
from torch.utils._pytree import tree_map

x = torch.zeros(3, requires_grad=True)
y = torch.stack([x.sqrt(), x.cos()])
print(torch.autograd.grad(y, x, torch.ones(2, 2, 3), is_grads_batched=True))
print(torch.autograd.functional.jacobian(torch.sqrt, torch.zeros(2), vectorize=True))
print(torch.func.vmap(torch.func.grad(lambda a: a.sqrt().sum()))(torch.zeros(2, 2)))


class Own(torch.Tensor):
    """Its shape and its device are computed by the program's own code."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner):
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), dtype=inner.dtype, device=inner.device,
            requires_grad=inner.requires_grad, dispatch_sizes_strides_policy="sizes",
            dispatch_device=True,
        )  # fmt: skip
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        print(function)
        args, kwargs = tree_map(lambda t: getattr(t, "inner", t), (args, kwargs or {}))
        made = function(*args, **kwargs)
        return tree_map(lambda t: Own(t) if isinstance(t, torch.Tensor) else t, made)

    def __repr__(self):
        return "Own"


own = Own(torch.ones(2).requires_grad_())
(own * 3).sum().backward()
print(own.grad)
model = torch.nn.Linear(2, 2)
model.weight = torch.nn.Parameter(Own(torch.ones(2, 2)))
optimizer = torch.optim.SGD(model.parameters(), 0.1)
model(torch.ones(2)).sum().backward()
optimizer.step()
optimizer.zero_grad()
for refused in (lambda: own @ Own(torch.ones(5)), lambda: own.sum().backward(torch.ones(5))):
    try:
        refused()
    except RuntimeError as error:
        print(error)


class Asked(torch.Tensor):
    """Counts what goes through it."""

    log = []

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        cls.log.append(function.__name__)
        return super().__torch_function__(function, types, args, kwargs or {})


class Nothing:
    """Refuses every function."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return NotImplemented


model.weight = torch.nn.Parameter(torch.ones(2, 2).as_subclass(Asked))
optimizer = torch.optim.SGD(model.parameters(), 0.1)
model(torch.ones(2)).sum().backward()
optimizer.step()
try:
    model.weight @ torch.ones(7)
except RuntimeError as error:
    print(error)
print(Asked.log)
torch.nn.functional.relu(Nothing())
