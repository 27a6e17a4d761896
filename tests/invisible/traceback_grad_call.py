import torch

a = torch.ones(3, requires_grad=True)
b = torch.ones(3, requires_grad=True)
try:
    torch.autograd.grad(a.sum(), [a, b])
except RuntimeError as error:
    print(error, error.__traceback__.tb_frame.f_code.co_name)
try:
    torch.ones(3).sum().backward()
except RuntimeError as error:
    print(error)
(a * 2).backward()
