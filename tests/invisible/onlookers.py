"""Loggers, debuggers, tracers and profilers that look at the program's own frames."""

import bdb
import inspect
import io
import logging
import pdb
import sys

import torch

logging.basicConfig(stream=sys.stdout, format="%(filename)s:%(lineno)d %(funcName)s %(message)s")


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        for level in (1, 2, 3, 4):
            logging.warning("forward %d", level, stacklevel=level)
        return x * 2

    @staticmethod
    def backward(ctx, grad):
        for level in (1, 2, 3, 4, 5, 6, 99):
            logging.warning("backward %d", level, stacklevel=level)
        logging.warning("stack", stack_info=True)
        debugger("w\nu\nu\nw\nc\n").set_trace()
        raise ValueError("in backward")


def debugger(typed):
    return pdb.Pdb(stdin=io.StringIO(typed), stdout=sys.stdout, nosigint=True, readrc=False)


def step():
    x = torch.ones(2, requires_grad=True)
    y = torch.relu(x * 2).sum()
    y.backward()
    return [x[0] + n for n in range(2)]


try:
    Double.apply(torch.ones(2, requires_grad=True)).sum().backward()
except ValueError as error:
    print([(info.function, info.lineno) for info in inspect.trace()])
    post = debugger("w\nu\nw\nq\n")
    post.reset()
    post.interaction(None, error.__traceback__)
try:
    torch.nn.functional.cross_entropy(torch.ones(1, 2), torch.tensor([5]))
except IndexError as error:
    post.reset()
    post.interaction(None, error.__traceback__)

seen = []


def tracer(frame, event, arg):
    if frame.f_code.co_filename == __file__:
        seen.append((frame.f_code.co_name, event, frame.f_lineno))
        return tracer


def profiler(frame, event, arg):
    if event in ("call", "return"):
        tracer(frame, event, arg)


for switch, which in ((sys.settrace, tracer), (sys.setprofile, profiler)):
    step()
    switch(which)
    step()
    switch(None)
    print(seen)
    seen.clear()


class Steps(bdb.Bdb):
    def user_line(self, frame):
        if frame.f_code.co_filename == __file__:
            print(frame.f_code.co_name, frame.f_lineno)


Steps().runcall(step)
