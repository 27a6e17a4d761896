import torch

torch.set_default_device("meta")
model = torch.nn.Linear(3, 2)
y = model(torch.ones(4, 3)).sum()
y.backward()
print(y, model.weight.grad.device, model.weight.grad.shape)
optimizer = torch.optim.Adam(model.parameters())
optimizer.step()
torch.set_default_device("cpu")
model = torch.nn.Linear(3, 2)
model(torch.ones(4, 3)).sum().backward()
print(model.weight.grad, torch.get_default_device())
with torch.device("meta"):
    print(torch.empty(2).device, torch.tensor([1.0]).device, torch.get_default_device())
torch.set_default_device(None)
torch.set_default_dtype(torch.float64)
print(torch.ones(1).dtype, torch.get_default_device())
