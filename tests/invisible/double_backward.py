import torch

torch.manual_seed(1)
x = torch.randn(3, requires_grad=True)
y = (x.exp() * x.sin()).sum()
(g,) = torch.autograd.grad(y, x, create_graph=True)
penalty = g.pow(2).sum()
penalty.backward()
print(x.grad, g.grad_fn.name())
x.grad = None
y = (x**3).sum()
(g,) = torch.autograd.grad(y, x, create_graph=True)
(h,) = torch.autograd.grad(g.sum(), x, create_graph=True)
(k,) = torch.autograd.grad(h.sum(), x)
print(g, h, k)
print(
    torch.autograd.gradcheck(torch.sin, x.double().detach().requires_grad_()),
    torch.autograd.gradgradcheck(torch.sin, x.double().detach().requires_grad_()),
)
a, b = torch.autograd.grad([x.sum(), (x * 2).sum()], [x, x], retain_graph=True, allow_unused=True)
print(a, b)
print(torch.autograd.grad(x.sum(), x, torch.tensor(3.0), is_grads_batched=False))
