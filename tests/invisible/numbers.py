import random

import torch

torch.manual_seed(3)
random.seed(3)
model = torch.nn.Sequential(
    torch.nn.Linear(8, 16), torch.nn.Dropout(0.3), torch.nn.BatchNorm1d(16), torch.nn.Linear(16, 2)
)
optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
for step in range(20):
    x = torch.randn(4, 8)
    loss = torch.nn.functional.cross_entropy(model(x), torch.randint(0, 2, (4,)))
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    print(step, loss.item().hex())
print(
    random.random(),
    torch.rand(2),
    hash(torch.get_rng_state().numpy().tobytes()) != 0,
    torch.initial_seed(),
)
print([t.double().sum().item().hex() for t in model.state_dict().values()])
