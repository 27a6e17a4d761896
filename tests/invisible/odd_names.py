"""Names that no encoding, table or line takes as they are; objects that answer for themselves."""

import torch

torch.manual_seed(0)


class Odd(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.add_module("sürface", torch.nn.Linear(3, 3))
        self.add_module("two\nlines", torch.nn.Linear(3, 3))
        self.add_module("x" * 100000, torch.nn.Linear(3, 1))

    def forward(self, x):
        for module in self.children():
            x = module(x)
        return x

    def named_modules(self, *given, **named):
        print("asked for modules")
        return super().named_modules(*given, **named)


class Holder:
    model = None


class Loud:
    def __getattribute__(self, name):
        print("asked for", name)
        return object.__getattribute__(self, name)


class Slotted:
    __slots__ = ("tensor",)

    def __getattr__(self, name):
        print("asked for", name)
        raise AttributeError(name)


class Key:
    def __repr__(self):
        print("asked to print")
        raise ValueError("cannot")


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("cannot be told")


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, grad):
        return grad * 2


Odd.__module__, Holder.__module__, Mute.__module__ = None, 7, "\ud800"
Double.__name__, Double.__qualname__ = "Dôu\nble", "q" * 70000
space = {"torch": torch, "__name__": 3}
exec(compile("def f(x):\n    return (x * 3).exp()\n", "<odd\n\udcff>", "exec"), space)
f = space["f"]


def main():
    модель, holder, loud, slotted = Odd(), Holder(), Loud(), Slotted()
    holder.model = модель
    held = {Key(): torch.ones(2, requires_grad=True), ("t", 1): [модель], "k\ud801": модель}
    optimizer = torch.optim.SGD(модель.parameters(), 0.1)
    optimizer.param_groups[0]["note\ud802"] = "\ud803"
    optimizer.param_groups[0][5] = float("nan")
    for _ in range(3):
        loss = f(Double.apply(модель(torch.ones(2, 3)))).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(loss.item().hex(), len(held), type(loud), type(slotted))

    def hook(grad):
        raise Mute

    out = модель(torch.ones(2, 3))
    out.register_hook(hook)
    try:
        out.sum().backward()
    except Mute as error:
        print(type(error).__name__, error.args)


main()
