import torch

x, y = torch.randn(20, 2), torch.randn(20)
w = torch.zeros(2)  # <<culprit
b = torch.zeros((), requires_grad=True)
loss = (x @ w + b - y).pow(2).mean()
loss.backward()
for parameter in (b, w):
    print(parameter.grad.item() if parameter is b else parameter.grad.norm())  # <<second
