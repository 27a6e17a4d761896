import sys
import threading
import traceback

import torch


def mine(kind, error, trace):
    print("mine", kind, error)
    while trace is not None:
        print(trace.tb_frame.f_code.co_name, trace.tb_lineno)
        trace = trace.tb_next


def of_thread(args):
    print("thread", args.exc_type, args.exc_value, args.thread.name)
    traceback.print_tb(args.exc_traceback, file=sys.stdout)


sys.excepthook = mine
threading.excepthook = of_thread
thread = threading.Thread(target=lambda: torch.ones(2) @ torch.ones(3), name="worker")
thread.start()
thread.join()


def fail(x):
    return torch.nn.functional.cross_entropy(x, x.long())


fail(torch.ones(2, 3, 4, 5, requires_grad=True).sum(3))
