import torch

torch.manual_seed(0)
w = torch.randn(3, requires_grad=True) * 0.1  # <<culprit
loss = (torch.randn(4, 3) @ w).pow(2).mean()
loss.backward()
print(w.grad)  # <<second
