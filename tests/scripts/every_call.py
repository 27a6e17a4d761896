"""Calls of every shape, plain and not, from lines of every kind."""

import collections
import warnings

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)
warnings.simplefilter("ignore")
Pair = collections.namedtuple("Pair", "left right")


class Own(torch.Tensor):
    pass


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.act = nn.Linear(8, 8), nn.ReLU()
        self.more = nn.ParameterList([nn.Parameter(torch.ones(8)) for _ in range(2)])

    def forward(self, x):
        x = self.act(self.fc(x)) + F.gelu(self.fc(x))
        return F.layer_norm(F.dropout(x, 0.5), (8,)) * self.more[0] + sum(self.more)


def deep(n, x):
    return deep(n - 1, x) if n else torch.tanh(x)


def turns(x):
    for _ in range(3):
        x = x * 0.5
        yield x


def odd(x):
    y = torch.cat([x, x], dim=0) + torch.stack((x, x)).sum(0).repeat(2, 1)
    y = torch.einsum("ij,kj->ik", y, x) @ x
    y = torch.where(y > 0, y, y.neg()).clamp(min=0.0, max=3.0)
    y = y.reshape((2, -1)).view(-1, 8).to(torch.float64).to(torch.float32)
    left, right = y.chunk(2)
    top = y.topk(3, dim=1)
    out = torch.empty(8, 8)
    torch.add(left.detach(), 1.0, out=out)
    half = F.relu(left.clone(), inplace=True) / 2 + (right**2).mean() + left.softmax(dim=-1)
    half = half / right.abs().add(1.0) + half**0.5 if half.min() > 1e9 else half / (1 + right**2)
    number = float(half.detach().mean())
    return half * number + top.values.sum() + out.mean() + torch.lerp(left, right, 0.3)


def refused(x):
    for bad in (
        lambda: x @ torch.ones(3, 3),
        lambda: torch.cat([x, 3]),
        lambda: F.linear(x, x[0, 0]),
    ):
        try:
            bad()
        except (RuntimeError, TypeError, IndexError) as error:
            print(type(error).__name__, error.__traceback__.tb_next.tb_next is None)


block = Block()
optimizer = torch.optim.Adam(block.parameters(), lr=1e-2)
for _ in range(12):
    x = torch.randn(8, 8)
    h = deep(3, block(block(x)))
    h = h + list(turns(h))[-1] + odd(h[:8])
    with torch.no_grad():
        aside = block(x)
        x.clone().add_(1.0).mul_(0.5)
    with torch.inference_mode():
        x.sum(dim=0, keepdim=True) * 2
    h = h + aside + torch.as_tensor(x).as_subclass(Own).exp().as_subclass(torch.Tensor)
    loss = F.mse_loss(h, torch.zeros_like(h)) + torch.stack(Pair(h.sum(), h.mean())).norm()
    optimizer.zero_grad()
    loss.backward()
    block.fc.weight.grad.clamp_(-1, 1)
    optimizer.step()
    refused(x)
print(loss.item())
