import torch

steps = torch.arange(4)  # second
time = steps.clone()
time.requires_grad_()  # culprit
