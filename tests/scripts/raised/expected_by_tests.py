import torch
from torch import nn


def raises(function):
    try:
        function()
    except RuntimeError as error:
        return str(error)
    raise AssertionError("did not raise")


def test_second_backward():
    w = torch.randn(3, requires_grad=True)
    y = (w * w).sum()
    y.backward()
    assert "second time" in raises(y.backward)


def test_saved_result():
    h = torch.randn(3, requires_grad=True).exp()
    h.add_(1)
    assert "modified" in raises(h.sum().backward)


test_second_backward()
test_saved_result()
model = nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    loss = model(torch.randn(4, 2)).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
