import sys

import torch

x = torch.ones(1, requires_grad=True)
deepest = 0


def down(depth):
    global deepest
    deepest = depth
    y = x + depth
    return down(depth + 1) + y


def count(depth):
    return depth if depth >= 800 else count(depth + 1)


for limit in (200, 1000, 1500):
    sys.setrecursionlimit(limit)
    try:
        down(0)
    except RecursionError as error:
        print(limit, str(error)[:32], limit - deepest < 40)
sys.setrecursionlimit(1000)
print(count(0), sys.getrecursionlimit())
(x * 2).sum().backward()
print(x.grad)


def deep(n, value):
    return value * 1.01 if not n else deep(n - 1, value + 1)


deep(900, x).backward()
print(x.grad.item().hex())
