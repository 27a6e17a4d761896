import torch


def inner(a, b):
    return torch.nn.functional.linear(a, b)


def outer():
    try:
        inner(torch.ones(2, 3), torch.ones(2, 4))
    except RuntimeError as error:
        error.add_note("a note") if hasattr(error, "add_note") else None
        raise ValueError("no such shapes") from error


torch.ones(2, requires_grad=True).sum().backward()
outer()
