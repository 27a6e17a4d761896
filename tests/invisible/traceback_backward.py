import torch

model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Sigmoid())
y = model(torch.ones(1, 2))
y.sum().backward()
with torch.no_grad():
    for p in model.parameters():
        p.add_(1)
y.sum().backward()
