import torch
from torch.nn.modules import module as module_module
from torch.optim.optimizer import register_optimizer_step_post_hook

model = torch.nn.Linear(2, 2)
x = torch.ones(1, 2, requires_grad=True)
y = model(x)
handles = [
    model.register_forward_hook(lambda *a: None),
    model.register_full_backward_hook(lambda *a: None),
    x.register_hook(lambda g: None),
    y.grad_fn.register_hook(lambda *a: None),
    model.weight.register_post_accumulate_grad_hook(lambda p: print("accumulated", p.shape)),
]
for _ in range(4):
    (model(x).sqrt().sum() + model(x).log().sum()).backward()
optimizer = torch.optim.SGD(model.parameters(), 0.1)
handles.append(optimizer.register_step_pre_hook(lambda *a: print("pre")))
handles.append(register_optimizer_step_post_hook(lambda *a: print("post")))
optimizer.step()
print([handle.id for handle in handles])
for holder in (model, optimizer):
    print({name: list(value) for name, value in vars(holder).items() if "hooks" in name})
print(
    x._backward_hooks,
    x._post_accumulate_grad_hooks,
    model.weight._backward_hooks,
    y._backward_hooks,
)
print(
    [
        (name, len(value))
        for name, value in sorted(vars(module_module).items())
        if name.startswith("_global") and hasattr(value, "__len__")
    ]
)
for handle in handles:
    handle.remove()
model(x).sum().backward()
optimizer.step()
