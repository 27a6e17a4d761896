"""stack_module_state makes new leaves, and vmap hides what becomes of them."""

import torch
import torch.nn as nn
from torch.func import functional_call, stack_module_state, vmap

members = nn.ModuleList(nn.Linear(2, 1) for _ in range(2))
bias = nn.Parameter(torch.zeros(1))
optimizer = torch.optim.SGD([*members.parameters(), bias], lr=0.1)
for _ in range(2):
    stacked, buffers = stack_module_state(list(members))  # <<culprit
    call = lambda p, b, x: functional_call(members[0], (p, b), (x,))  # noqa: E731
    out = vmap(call, in_dims=(0, 0, None))(stacked, buffers, torch.randn(4, 2))
    optimizer.zero_grad()
    (out + bias).square().mean().backward()
    optimizer.step()
