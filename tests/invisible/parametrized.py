import torch
from torch.nn.utils import parametrizations, parametrize

torch.manual_seed(0)


class Skew(torch.nn.Module):
    def forward(self, x):
        return x.triu(1) - x.triu(1).mT


layer = torch.nn.Linear(3, 3)
parametrize.register_parametrization(layer, "weight", Skew())
normed = (
    parametrizations.spectral_norm(
        parametrizations.weight_norm(torch.nn.Linear(3, 3), "weight"), "bias"
    )
    if False
    else parametrizations.spectral_norm(torch.nn.Linear(3, 3))
)
weighted = parametrizations.weight_norm(torch.nn.Linear(3, 3))
orthogonal = parametrizations.orthogonal(torch.nn.Linear(3, 3))
old = torch.nn.utils.spectral_norm(torch.nn.Linear(3, 3))
model = torch.nn.Sequential(layer, normed, weighted, orthogonal, old)
for _ in range(3):
    model(torch.ones(2, 3)).pow(2).sum().backward()
print({name: p.grad.sum().item().hex() for name, p in model.named_parameters()})
with parametrize.cached():
    print(layer.weight is layer.weight)
tied = torch.nn.Linear(3, 3, bias=False)
tied.weight = layer.parametrizations.weight.original
print(
    len(list(torch.nn.Sequential(layer, tied).parameters())),
    list(torch.nn.Sequential(layer, tied).state_dict()),
)
parametrize.remove_parametrizations(layer, "weight")
print(type(layer), layer.weight.requires_grad)
