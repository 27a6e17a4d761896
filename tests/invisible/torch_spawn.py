import torch
import torch.multiprocessing as mp


def work(rank, queue):
    torch.manual_seed(rank)
    x = torch.randn(3, requires_grad=True)
    (x * x).sum().backward()
    queue.put((rank, x.grad.sum().item().hex()))


def fail(rank):
    torch.ones(2, requires_grad=True).sum().backward()
    torch.nn.functional.linear(torch.ones(2), torch.ones(2, 3))


if __name__ == "__main__":
    queue = mp.get_context("spawn").SimpleQueue()
    mp.spawn(work, (queue,), nprocs=2)
    print(sorted([queue.get(), queue.get()]))
    try:
        mp.spawn(fail, nprocs=1)
    except Exception as error:
        print(type(error), error)
