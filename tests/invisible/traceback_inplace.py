import torch

w = torch.ones(3, requires_grad=True)
h = w.exp()
loss = (h * h).sum()
h += 1
loss.backward()
