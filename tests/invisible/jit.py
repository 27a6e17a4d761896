import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, x):
        if x.sum() > 0:
            return self.layer(x).relu()
        return self.layer(x)


@torch.jit.script
def scripted(x, n: int):
    for _ in range(n):
        x = x * 1.5 + x.exp()
    return x


torch.manual_seed(0)
model = Net()
x = torch.ones(4, 3)
traced = torch.jit.trace(model, x)
script = torch.jit.script(model)
for form in (model, traced, script):
    model.zero_grad()
    for _ in range(3):
        form(x).sum().backward()
    print(model.layer.weight.grad.sum().item().hex())
y = torch.ones(2, requires_grad=True)
scripted(y, 3).sum().backward()
print(y.grad, str(traced.graph).count("aten::"), script.code)
try:
    script(torch.ones(4, 9))
except RuntimeError as error:
    print(type(error), str(error)[:60].splitlines()[0])
print(torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())).code)
