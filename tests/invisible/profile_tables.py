"""What the profiler lists: the program's own ops, as often as it has called them."""

import torch

model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.ReLU())
optimizer = torch.optim.SGD(model.parameters(), 0.1)


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, grad):
        return grad * 2


def step():
    loss = Double.apply(model(torch.ones(2, 3))).sum().sqrt()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
    for _ in range(2):
        step()
print(sorted((event.key, event.count) for event in profile.key_averages()))
with torch.autograd.profiler.profile() as profile:
    step()
    bad = torch.zeros(2, requires_grad=True)
    (bad * 0).sqrt().sum().backward()
print(sorted((event.key, event.count) for event in profile.key_averages()))
