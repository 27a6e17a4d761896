import gc
import sys
import weakref

import torch


class Loud:
    def __init__(self, name):
        self.name = name

    def __del__(self):
        print("dies", self.name, (torch.ones(2) * 2).sum().item())


def scope():
    tensor = torch.ones(2, requires_grad=True)
    tensor.loud = Loud("in scope")
    out = tensor * 2
    out.sum().backward()
    print("end of scope")


scope()
model = torch.nn.Linear(2, 2)
model.loud = Loud("module")
model(torch.ones(1, 2)).sum().backward()
refs = [sys.getrefcount(p) for p in model.parameters()]
print(refs, sys.getrefcount(model))
del model
print("deleted")
gc.collect()


def fail():
    local = Loud("local of a failing frame")
    torch.ones(2) @ torch.ones(3)


try:
    fail()
except RuntimeError:
    print("caught")
print("after")
ref = weakref.ref((torch.ones(2, requires_grad=True) * 2).sqrt().sum())
print(ref() is None)
loss = torch.ones(2, requires_grad=True).log().sum()
loss.loud = Loud("loss")
loss.backward()
loss = None
print("the end")
last = Loud("at exit")
