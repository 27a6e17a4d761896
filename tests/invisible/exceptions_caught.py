"""What a program sees of the exceptions that it catches: text, cause, context, notes, frames."""

import torch


class Failing(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, where):
        ctx.where = where
        if where == "forward":
            raise KeyError("forward") from ValueError("the cause")
        return x * 2

    @staticmethod
    def backward(ctx, grad):
        try:
            grad @ torch.ones(7, 7)
        except RuntimeError as error:
            error.add_note("noted in backward")
            raise LookupError("backward") from error


class Layer(torch.nn.Module):
    def forward(self, x):
        try:
            return torch.nn.functional.linear(x, torch.ones(5, 9))
        except RuntimeError as error:
            error.add_note(f"noted in {type(self).__name__}")
            raise


def hooked():
    x = torch.ones(2, requires_grad=True)
    y = x * 2

    def hook(grad):
        raise OSError(5, "in a hook")

    y.register_hook(hook)
    y.sum().backward()


def stepped():
    p = torch.nn.Parameter(torch.ones(2))
    torch.optim.LBFGS([p]).step(lambda: p / 0 @ torch.ones(3))


def grouped():
    errors = []
    for size in (3, 4):
        try:
            torch.ones(2) + torch.ones(size)
        except RuntimeError as error:
            errors.append(error)
    raise ExceptionGroup("several", errors)


def told(error, depth=0):
    print("  " * depth, type(error).__name__, str(error)[:200], error.args != (), flush=True)
    print("  " * depth, getattr(error, "__notes__", None), error.__suppress_context__)
    frames = []
    trace = error.__traceback__
    while trace is not None and depth == 0:
        frames.append((trace.tb_frame.f_code.co_name, trace.tb_lineno))
        trace = trace.tb_next
    print("  " * depth, [frame for frame in frames if frame[0] != "__torch_function__"][:1])
    for inner in (error.__cause__, error.__context__, *getattr(error, "exceptions", ())):
        if inner is not None:
            told(inner, depth + 1)


x = torch.ones(2, requires_grad=True)
for attempt in (
    lambda: Failing.apply(x, "forward"),
    lambda: Failing.apply(x, "backward").sum().backward(),
    lambda: torch.autograd.grad(Failing.apply(x, "backward").sum(), x),
    lambda: Layer()(x),
    hooked,
    stepped,
    grouped,
    lambda: torch.autograd.grad(x.sum(), torch.ones(1, requires_grad=True)),
    lambda: torch.nn.Parameter([1]),
    lambda: x.backward(),
    lambda: torch.nn.Linear(2, 2).load_state_dict({"weight": x}),
    lambda: torch.from_numpy([1]),
):
    try:
        attempt()
    except Exception as error:
        told(error)
