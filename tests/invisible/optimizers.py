import torch

torch.manual_seed(0)
for kind in (
    torch.optim.SGD,
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.RMSprop,
    torch.optim.Adagrad,
    torch.optim.NAdam,
    torch.optim.LBFGS,
):
    for foreach in (None, True):
        model = torch.nn.Linear(3, 2)
        given = {} if kind is torch.optim.LBFGS else {"foreach": foreach}
        optimizer = kind(model.parameters(), lr=0.01, **given)

        def closure():
            optimizer.zero_grad()
            loss = model(torch.ones(4, 3)).pow(2).sum()
            loss.backward()
            return loss

        for _ in range(3):
            loss = optimizer.step(closure)
        print(kind.__name__, foreach, float(loss).hex(), model.weight.sum().item().hex())
try:
    torch.optim.SGD([model.weight * 2], 0.1)
except ValueError as error:
    print(error)
try:
    torch.optim.SGD([], 0.1)
except ValueError as error:
    print(error)


def bad():
    raise KeyError("closure")


try:
    optimizer.step(bad)
except KeyError as error:
    print(error, error.__traceback__.tb_next.tb_frame.f_code.co_name)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "lr": 1.0})
print(optimizer)
swa = torch.optim.swa_utils.AveragedModel(model)
swa.update_parameters(model)
print(list(swa.state_dict()))
