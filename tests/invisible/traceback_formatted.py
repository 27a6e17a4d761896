import logging
import sys
import traceback

import torch

logging.basicConfig(stream=sys.stdout)


def f(x):
    return torch.nn.functional.softmax(x, dim=9) + torch.cat([x, 1])


for make in (
    f,
    torch.nn.Linear(2, 2),
    lambda x: x.view(7),
    lambda x: x @ x,
    lambda x: torch.stack([x, x[0]]),
):
    try:
        make(torch.ones(3, 2, requires_grad=True).flatten())
    except Exception as error:
        print(type(error), error.__cause__, error.__context__)
        traceback.print_exc(file=sys.stdout)
        print(traceback.format_exception_only(type(error), error))
        print([frame.name for frame in traceback.extract_tb(error.__traceback__)])
        logging.exception("logged")
        print(len(traceback.TracebackException.from_exception(error, capture_locals=True).stack))
