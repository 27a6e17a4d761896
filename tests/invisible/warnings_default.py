import warnings

import torch


def mismatch(x):
    return torch.nn.functional.mse_loss(x, torch.ones(3, 1))


x = torch.ones(3, requires_grad=True)
for _ in range(3):
    mismatch(x)
    torch.nn.functional.l1_loss(x, torch.ones(3, 1))
print(float(x.sum()))
y = x * 2
print(y.grad)
print(y.grad)
torch.nn.Softmax()(torch.ones(2, 2))
torch.ones(2, 3).T.T
torch.ones(2, 3, 4).T
scheduler = torch.optim.lr_scheduler.StepLR(torch.optim.SGD([x], 0.1), 1)
scheduler.step()
warnings.warn("mine", stacklevel=1)
print(sorted(str(key) for key in globals().get("__warningregistry__", {})))
