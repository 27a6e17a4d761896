import torch
import torch.nn.functional as F
from torch import nn

make, judge = nn.Linear(3, 2), nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
of_make = torch.optim.Adam(make.parameters())
of_judge = torch.optim.Adam(judge.parameters())


def score(x):
    return F.softplus(judge(x)).mean()


for _ in range(2):
    fake = make(torch.randn(8, 3)).tanh()  # culprit
    judged = score(fake) + score(-torch.randn(8, 2))
    of_judge.zero_grad()
    judged.backward()  # second
    of_judge.step()
    of_make.zero_grad()
    (-score(fake)).backward()
    of_make.step()
