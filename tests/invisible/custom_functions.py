import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable


class Double(Function):
    @staticmethod
    def forward(ctx, x, scale=2):
        ctx.save_for_backward(x)
        ctx.scale = scale
        ctx.mark_non_differentiable()
        return x * scale

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        print("backward", x.shape, ctx.needs_input_grad, torch.is_grad_enabled())
        return grad * ctx.scale, None


class InPlace(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.mark_dirty(x)
        return x.add_(1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        return grad


class New(Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x.exp()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0]


class Broken(Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad[:1]


x = torch.ones(3, requires_grad=True)
y = New.apply(InPlace.apply(Double.apply(x, 3)))
y.sum().backward()
print(x.grad, y.grad_fn.name(), Double.apply.__name__, type(y.grad_fn).__name__)
print(
    torch.func.grad(lambda t: New.apply(t).sum())(torch.ones(2)),
    torch.vmap(New.apply)(torch.ones(2, 2)),
)
try:
    Broken.apply(x).sum().backward()
except RuntimeError as error:
    print(error)
try:
    Double.apply()
except TypeError as error:
    print(error, error.__traceback__.tb_next.tb_next is None)
Double.apply(x @ torch.ones(4))
