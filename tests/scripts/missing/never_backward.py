import torch


def rosenbrock(p):
    return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2


x = torch.tensor([-1.0, 2.0], requires_grad=True)
value = rosenbrock(x)  # <<culprit
print(x.grad)
