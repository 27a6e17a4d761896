"""A little of everything that has a tap, as a program would use it; and what it saw."""

from __future__ import annotations

import bdb
import inspect
import io
import logging
import threading
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.utils.checkpoint


class Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x * 2

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad * 2


def program() -> list[Any]:
    """Train, fail, look at frames, use threads: the same each time."""
    torch.manual_seed(0)
    seen: list[Any] = []
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    train(model, seen)
    (grad,) = torch.autograd.grad(model[0].weight.exp().sum(), model[0].weight)
    seen.append(grad.sum().item().hex())
    nan = torch.zeros(2, requires_grad=True)
    (nan * 0).sqrt().sum().backward()
    seen.append(str(nan.grad))
    refused(model, seen)
    looked_at(seen)
    asked(model, seen)
    in_threads(seen)
    return seen


def in_threads(seen: list[Any]) -> None:
    """One thread that works, and one that fails."""
    hook, threading.excepthook = threading.excepthook, lambda told: seen.append(str(told.exc_value))
    for target in (lambda: seen.append(torch.ones(2).sum().item()), lambda: torch.ones(2) @ "x"):
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
    threading.excepthook = hook


def unused_kind() -> Any:
    """A class of optimizer, torch's own but for its name, whose step torch has yet to wrap."""
    step = torch.optim.SGD.step
    while hasattr(step, "hooked"):
        step = step.__wrapped__
    return type("Unused", (torch.optim.SGD,), {"step": step})


def train(model: Any, seen: list[Any]) -> None:
    optimizer = unused_kind()(model.parameters(), 0.1)
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))]})
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    held = {("by", 1): model}  # named after its key
    for _ in range(8):
        x = torch.from_numpy(torch.randn(2, 3).numpy())
        h = torch.utils.checkpoint.checkpoint(model, Scaled.apply(x), use_reentrant=False)
        loss = h.pow(2).sum().sqrt() + torch.autograd.Variable(torch.zeros(1)).sum()
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        seen.append(loss.item().hex())
    seen.append(len(held))


def refused(model: Any, seen: list[Any]) -> None:
    """What torch refuses, in every way that a stand-in has to pass on."""
    x, loss = torch.ones(2, 3), model(torch.ones(2, 3)).sum()
    loss.backward()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    refusals: list[Callable[[], Any]] = [
        lambda: x @ x,
        lambda: loss.backward(),
        lambda: model(x).backward(),
        lambda: Scaled.apply(x @ x),
        lambda: torch.utils.checkpoint.checkpoint(lambda: x @ x, use_reentrant=False),
        lambda: torch.nn.Parameter(3),
        lambda: torch.from_numpy(3),
        lambda: torch.autograd.Variable(3, 4),
        lambda: torch.optim.SGD([model[0].weight * 2], 0.1),
        lambda: optimizer.add_param_group({"params": [x * 2]}),
        lambda: torch.optim.lr_scheduler.StepLR(3, 1),
    ]
    for refuse in refusals:
        try:
            refuse()
        except Exception as error:
            seen.append((type(error), str(error), error.__cause__))


def looked_at(seen: list[Any]) -> None:
    """A traceback, the stack, a warning, a logger and a debugger."""
    try:
        torch.ones(2) @ torch.ones(3)
    except RuntimeError as error:
        trace: Any = error.__traceback__
        seen.append(traceback.format_exception(error)[-1])
        seen.append([code.f_lineno for code, _ in traceback.walk_tb(trace)])
        seen.append(len(inspect.getinnerframes(trace)))
        debugger: Any = bdb.Bdb()
        debugger.botframe = None
        for frame in (None, inspect.currentframe()):
            frames, at = debugger.get_stack(frame, trace)
            seen.append(len(frames) - at)
    frame: Any = inspect.currentframe()
    seen.append([code.f_code.co_name for code, _ in traceback.walk_stack(frame)][:2])
    seen.append([one.function for one in inspect.getouterframes(frame)][:2])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        warnings.warn("mind this", stacklevel=2)
    seen.append([(one.lineno, str(one.message)) for one in told])
    out = io.StringIO()
    handler, logger = logging.StreamHandler(out), logging.getLogger("watched")
    handler.setFormatter(logging.Formatter("%(funcName)s %(message)s"))
    logger.addHandler(handler)
    logger.warning("mind that", stacklevel=2)
    logger.removeHandler(handler)
    seen.append(out.getvalue())


def asked(model: Any, seen: list[Any]) -> None:
    """What asks for the modes that are on, or must not meet one."""
    x = torch.ones(2, 3)
    seen.append(torch.overrides.has_torch_function((x,)))
    seen.append(torch.overrides._get_current_function_mode_stack())
    seen.append(torch.overrides._get_current_function_mode())
    seen.append(str(torch.jit.trace(model, x).graph.findNode("aten::tanh") is None))
    seen.append(torch.jit._get_trace_graph(model, x)[1].sum().item())
    seen.append(len(torch.jit.trace_module(model, {"forward": x}).code))
    torch.utils.swap_tensors(one := torch.zeros(1), two := torch.ones(1))
    seen.append((one.item(), two.item()))


def compiling() -> list[Any]:
    """Something compiled, by a backend that changes nothing."""
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: (x * 2).sin(), backend="eager")
    x = torch.ones(3, requires_grad=True)
    compiled(x).sum().backward()
    return [x.grad.tolist()]  # type: ignore[union-attr]
