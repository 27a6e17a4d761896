"""Exceptions that nobody can catch: in `__del__`, in weak references, at exit."""

import atexit
import sys
import traceback
import weakref

import torch
import torch.nn.functional as F


def refused():
    F.cross_entropy(torch.ones(1, 2), torch.tensor([5]))


class Dying:
    def __del__(self):
        refused()


class Failing:
    def __del__(self):
        (torch.ones(2, requires_grad=True) * 2).backward()


def told(unraisable):
    frames = traceback.extract_tb(unraisable.exc_traceback)
    print(unraisable.exc_type, unraisable.exc_value, [frame.name for frame in frames])


atexit.register(refused)
Dying()
Failing()
watched = weakref.ref(object.__new__(Dying), lambda _: refused())
sys.unraisablehook = told
Dying()
Failing()
sys.unraisablehook = sys.__unraisablehook__
