import torch

torch.manual_seed(0)
order = []
x = torch.ones(2, requires_grad=True)
model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Sigmoid())
for name, module in model.named_modules():
    module.register_forward_pre_hook(lambda m, i, name=name: order.append(("pre", name)))
    module.register_forward_hook(lambda m, i, o, name=name: order.append(("post", name)))
    module.register_full_backward_pre_hook(lambda m, g, name=name: order.append(("bpre", name)))
    module.register_full_backward_hook(lambda m, i, o, name=name: order.append(("back", name)))
model.register_state_dict_pre_hook(lambda *a: order.append("state"))
y = model(x)
y.register_hook(lambda g: order.append(("y", g.tolist())) or g * 2)
y.grad_fn.register_prehook(lambda g: order.append("node pre"))
y.grad_fn.register_hook(lambda i, o: order.append("node post"))
x.register_hook(lambda g: order.append("x"))
x.register_post_accumulate_grad_hook(lambda t: order.append("accumulated"))
y.sum().backward()
model.state_dict()
print(*order, sep="\n")
with torch.autograd.graph.save_on_cpu():
    z = (model(x) ** 2).sum()
z.backward()
packed = []
with torch.autograd.graph.saved_tensors_hooks(
    lambda t: packed.append(t.shape) or t, lambda t: packed.append("un") or t
):
    z = (x.exp() * x).sum().sqrt()
z.backward()
print(packed, x.grad)
print(torch.autograd.graph.get_gradient_edge(x).node.name())
