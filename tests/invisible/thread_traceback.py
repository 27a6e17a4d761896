import threading

import torch


def work():
    x = torch.ones(3, requires_grad=True)
    torch.nn.functional.linear(x, torch.ones(4, 5))


thread = threading.Thread(target=work, name="worker-1")
thread.start()
thread.join()
x = torch.ones(3, requires_grad=True)
x.sum().backward()
print(x.grad)
