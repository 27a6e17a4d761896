import torch

theta = torch.randn(4, requires_grad=True)
opt = torch.optim.LBFGS([theta], max_iter=2)


def closure():
    opt.zero_grad()
    loss = theta.pow(3).sum()  # second
    with torch.no_grad():
        theta.clamp_(-2, 2)  # culprit
    loss.backward()
    return loss


opt.step(closure)
