import os

os.environ["OMP_NUM_THREADS"] = "1"
import sys

import torch

print(torch.get_num_threads(), sys.argv[1:], __name__, __file__.endswith("train.py"), __spec__)
print(
    sys.path[0] == os.getcwd(),
    sorted(name for name in os.environ if "GRADPM" in name or name.startswith("PYTHON")),
)
print(
    sys.modules["__main__"].__dict__ is globals(),
    sorted(name for name in globals() if name != "__annotations__"),
)
print(
    [f if isinstance(f, type) else type(f) for f in sys.meta_path],
    "rich" in sys.modules,
    "textual" in sys.modules,
)
print(
    "torch._dynamo" in sys.modules, "torch._inductor" in sys.modules, "sitecustomize" in sys.modules
)
print(
    torch.__spec__.origin is not None,
    torch.nn.Parameter.__module__,
    torch.nn.Parameter.__new__.__name__,
)
print(
    torch.autograd.Function.apply.__name__,
    torch.from_numpy.__name__,
    torch.optim.Optimizer.step.__qualname__,
)
import inspect

print(
    inspect.signature(torch.nn.Parameter.__init__),
    inspect.signature(torch.optim.Optimizer.__init__),
)
print(
    inspect.signature(torch.optim.Optimizer.zero_grad),
    list(inspect.signature(torch.utils.checkpoint.checkpoint).parameters),
)
print(torch.overrides.has_torch_function((torch.ones(1),)), sys.gettrace(), sys.getprofile())
torch.ones(1, requires_grad=True).backward()
print(sys.stdin.read())
