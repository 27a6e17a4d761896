import torch

weight = torch.randn(3, requires_grad=True)
work = torch.randn(3)
loss = (weight * work).sum()  # second
torch.add(work, 1.0, out=work)  # culprit
loss.backward()
