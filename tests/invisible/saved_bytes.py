import copy
import hashlib
import io
import pickle

import torch

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
optimizer = torch.optim.Adam(model.parameters())
model(torch.randn(5, 3)).sum().backward()
optimizer.step()
twin = copy.deepcopy(model)


def digest(thing):
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return len(buffer.getvalue()), hashlib.sha256(buffer.getvalue()).hexdigest()


print(digest(model.state_dict()), digest(optimizer.state_dict()), digest(model), digest(twin))
print(
    digest([p.grad for p in model.parameters()]),
    vars(model[0].weight),
    vars(torch.nn.Parameter(torch.ones(2))),
)
again = pickle.loads(pickle.dumps(twin))
print(again, [torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters())])
print(sorted(vars(model)), sorted(vars(optimizer)), model.__class__.__mro__)
