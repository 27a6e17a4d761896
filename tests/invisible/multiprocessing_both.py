import multiprocessing
import sys

import torch


def work(queue, seed):
    torch.manual_seed(seed)
    model = torch.nn.Linear(3, 1)
    model(torch.randn(2, 3)).sum().backward()
    queue.put(
        (
            multiprocessing.current_process().name,
            model.weight.grad.tolist(),
            __name__,
            len(sys.argv),
        )
    )


def fail():
    torch.ones(2, requires_grad=True).sum().backward()
    torch.nn.functional.linear(torch.ones(2), torch.ones(2, 3))


if __name__ == "__main__":
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        process = context.Process(target=work, args=(queue, 1))
        process.start()
        print(queue.get())
        process.join()
        broken = context.Process(target=fail)
        broken.start()
        broken.join()
        print(method, process.exitcode, broken.exitcode, flush=True)
