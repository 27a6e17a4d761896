"""What the program can learn of torch, of python and of the modes that are on."""

import sys

print(sorted(sys.modules))

import copy  # noqa: E402
import pickle  # noqa: E402
import warnings  # noqa: E402

import torch  # noqa: E402
from torch import overrides  # noqa: E402

print(sorted(name for name in sys.modules if not name.startswith("gradpm")))
print(pickle.dumps(torch.from_numpy), pickle.loads(pickle.dumps(torch.from_numpy)))
print(copy.deepcopy(torch.from_numpy), torch.from_numpy.__name__, torch.from_numpy.__qualname__)
for function in (warnings.warn, __import__("os")._exit, __import__("os").execve):
    print(pickle.loads(pickle.dumps(function)) is function)
for wrong in ((), ("a",), (1, 2)):
    try:
        torch.from_numpy(*wrong)
    except TypeError as error:
        print(error)


class Mode(overrides.TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        print(function.__name__, overrides._get_current_function_mode())
        return function(*args, **(kwargs or {}))

    def __repr__(self):
        return "mode"


print(overrides._get_current_function_mode_stack(), overrides._get_current_function_mode())
with Mode(), Mode():
    print(overrides._get_current_function_mode_stack(), torch.ones(2) + 1)
torch.set_default_device("cpu")
print(len(overrides._get_current_function_mode_stack()))
