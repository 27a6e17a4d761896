import torch
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
x = torch.randn(5, 3)
parameters = dict(model.named_parameters())


def loss(parameters, x):
    return functional_call(model, parameters, (x,)).pow(2).sum()


per_sample = vmap(grad(loss), in_dims=(None, 0))(parameters, x)
print({name: value.sum().item().hex() for name, value in per_sample.items()})
f = lambda t: (t.sin() * t).sum()
t = torch.randn(3)
print(
    jacrev(f)(t), jacfwd(f)(t), hessian(f)(t), vjp(f, t)[1](torch.tensor(2.0)), jvp(f, (t,), (t,))
)
print(
    vmap(lambda a: a @ a, randomness="different")(x),
    vmap(lambda a: torch.rand(2), randomness="same")(x),
)
print(
    torch.vmap(torch.linalg.inv)(torch.eye(2).expand(3, 2, 2)),
    grad(grad(lambda s: s**3))(torch.tensor(2.0)),
)
try:
    vmap(lambda a: a.item())(t)
except RuntimeError as error:
    print(str(error)[:70])
model(x).sum().backward()
print(torch.autograd.functional.jacobian(lambda t: t**2, t), torch.autograd.functional.hvp(f, t, t))
