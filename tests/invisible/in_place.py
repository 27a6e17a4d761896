import numpy as np
import torch

x = torch.zeros(4, requires_grad=True)
y = x * 1
y[1] = 5
y += 1
y.mul_(2)
torch.add(torch.ones(4), 1, out=(buffer := torch.empty(4)))
y.sum().backward()
print(x.grad, y._version, buffer, buffer._version)
try:
    x[0] = 1
except RuntimeError as error:
    print(error)
x.data[0] = 9
x.data = torch.ones(4)
with torch.no_grad():
    x.copy_(torch.arange(4.0))
print(x, x._version, x.detach()._version)
base = torch.ones(3, 3)
view = base[0]
view.add_(1)
print(base._version, view._version, view._base is base, base.view(9)[::2].stride())
torch._foreach_mul_([base, view], 2)
array = np.ones(3)
shared = torch.from_numpy(array)
array[0] = 7
print(
    shared,
    torch.from_numpy.__name__,
    torch.as_tensor(array).data_ptr() == shared.data_ptr(),
    np.asarray(base).sum(),
    np.sin(base),
)
norm = torch.nn.BatchNorm1d(3)
norm(torch.randn(4, 3))
print(norm.running_mean._version, norm.num_batches_tracked)
p = torch.nn.Parameter(torch.ones(2))
p.requires_grad_(False).requires_grad = True
p.grad = torch.ones(2)
del p.grad
print(
    p.grad,
    torch.autograd.Variable(torch.ones(1), requires_grad=True),
    isinstance(p, torch.autograd.Variable),
)
a = torch.ones(2, requires_grad=True)
leaf = a.detach().requires_grad_()
(leaf * a).sum().backward()
a.swap_(leaf) if hasattr(a, "swap_") else None
torch.utils.swap_tensors(torch.ones(1), torch.zeros(1))
print(a.grad, a.is_leaf, a.retains_grad, a.output_nr)
for row in base:
    print(row.tolist())
print(
    *torch.ones(2),
    1.0 in torch.ones(2),
    bool(torch.ones(1)),
    f"{torch.tensor(1.5):.3f}",
    round(torch.tensor(1.5).item()),
)
