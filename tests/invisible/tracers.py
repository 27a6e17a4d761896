import warnings

import torch
from torch.fx.experimental.proxy_tensor import make_fx

warnings.simplefilter("ignore")
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.GELU(), torch.nn.Linear(4, 1))
x = torch.ones(2, 3)
exported = torch.export.export(model, (x,))
print(len(exported.graph.nodes), exported.module()(x).sum().item().hex())
dim = torch.export.Dim("batch", min=2, max=64)
dynamic = torch.export.export(model, (x,), dynamic_shapes=({0: dim},))
print(
    dynamic.module()(torch.ones(5, 3)).shape,
    [str(node.meta["val"].shape) for node in dynamic.graph.nodes if "val" in node.meta],
)


def f(x):
    return (x.sin() * x).sum() + torch.nn.functional.softmax(x, -1).max()


print(make_fx(f)(x).code)
print(make_fx(torch.func.grad(f), tracing_mode="symbolic")(x).code)
print(torch.fx.symbolic_trace(model).code, torch.fx.symbolic_trace(torch.nn.ReLU()).graph)
with torch._subclasses.FakeTensorMode():
    fake = torch.nn.Linear(3, 2)(torch.ones(4, 3))
    print(fake.shape, type(fake).__name__)
print(torch.func.functionalize(lambda t: t.clone().add_(1))(x))
print(
    torch.jit.trace(f, x).graph.str()
    if hasattr(torch._C.Graph, "str")
    else str(torch.jit.trace(f, x).graph).count("=")
)
