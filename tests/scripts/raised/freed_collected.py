import torch
from torch import nn

policy, memory = nn.Linear(4, 2), []
for episode in range(3):
    for t in range(3):
        log_prob = policy(torch.randn(4)).log_softmax(-1)[0]  # culprit
        memory.append((log_prob, float(t)))
    loss = -sum(p * r for p, r in memory)
    loss.backward()  # second
