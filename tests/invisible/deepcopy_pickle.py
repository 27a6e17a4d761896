import copy
import pickle

import torch

torch.manual_seed(0)
base = torch.arange(4.0, requires_grad=True)
print(
    copy.deepcopy(base).grad_fn,
    copy.copy(base) is base,
    copy.deepcopy({"a": [base, base]})["a"][0].is_leaf,
)
try:
    copy.deepcopy(base * 2)
except RuntimeError as error:
    print(str(error)[:60], error.__traceback__.tb_frame.f_code.co_name)
(base * 2).sum().backward()
twin = copy.deepcopy(base)
print(twin.grad is not base.grad, twin.grad, pickle.loads(pickle.dumps(base)).requires_grad)
model = torch.nn.LSTM(2, 3)
clone = copy.deepcopy(model)
print(all(torch.equal(a, b) and a is not b for a, b in zip(model.parameters(), clone.parameters())))
clone.load_state_dict(model.state_dict())
clone(torch.ones(2, 1, 2))[0].sum().backward()
print(model.weight_ih_l0.grad is None, clone.weight_ih_l0.grad.sum().item().hex())
optimizer = torch.optim.Adam(clone.parameters())
optimizer.step()
other = pickle.loads(pickle.dumps(optimizer))
print(other.state_dict()["state"][0]["step"], type(other).step is type(optimizer).step)
module = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(2, 2))
print(list(copy.deepcopy(module).state_dict()))
