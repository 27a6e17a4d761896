"""Every warning of torch's, each time: none is added, none is swallowed."""

import warnings

import torch

torch.set_warn_always(True)
warnings.simplefilter("always")
x = torch.ones(3, requires_grad=True)
for _ in range(2):
    x.half().to(torch.complex32).abs().float().sum().backward()
    (x * 2).grad
    float(x.sum() * 1.0)
    torch.nn.functional.mse_loss(x, torch.ones(3, 1))
    torch.quantize_per_tensor(x.detach(), 0.1, 0, torch.quint8)
    torch.nn.functional.softmax(x)
    torch.ones(2, 2).to_sparse_csr().requires_grad_().sum().backward()
    torch.optim.lr_scheduler.StepLR(torch.optim.SGD([x], 0.1), 1).step()
    x.new_tensor(x)
    torch.tensor(x.detach())
    torch.utils.checkpoint.checkpoint(torch.sin, torch.ones(2))
