"""No optimizer anywhere: gradients zeroed through `.data`, failures provoked and caught."""

import torch
from torch import nn
from torch.autograd import gradcheck
from torch.nn.utils.parametrizations import weight_norm

torch.manual_seed(0)


def zeroed_through_data():
    weight = torch.zeros(3, requires_grad=True)
    for _ in range(8):
        (torch.randn(8, 3) @ weight - 1).pow(2).mean().backward()
        weight.data -= 0.05 * weight.grad.data
        weight.grad.data.zero_()


def computed_weight():
    """`layer.weight` is computed anew by each read: its `.grad` is None, and means nothing."""
    layer = weight_norm(nn.Linear(3, 2))
    for _ in range(3):
        layer(torch.randn(4, 3)).pow(2).mean().backward()
        layer.zero_grad()
    assert layer.weight.grad is None


def expect_failure(function):
    try:
        function()
    except RuntimeError as error:
        return str(error)
    raise AssertionError


def test_like():
    layer = nn.Linear(3, 2).double()
    x = torch.randn(4, 3, dtype=torch.double, requires_grad=True)
    assert gradcheck(layer, x)

    def twice():
        loss = x.pow(2).sum()
        loss.backward()
        loss.backward()

    def changed():
        y = x.exp()
        y.mul_(2)
        y.sum().backward()

    expect_failure(twice)
    expect_failure(changed)
    expect_failure(lambda: x.add_(1))
    expect_failure(lambda: x.sum().detach().backward())
    expect_failure(lambda: x.mul(2).backward())
    expect_failure(lambda: torch.autograd.grad(x.sum(), torch.randn(3, requires_grad=True)))


for program in (zeroed_through_data, computed_weight, test_like):
    program()
