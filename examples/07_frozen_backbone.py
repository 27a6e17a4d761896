"""Fine-tuning: a new head on a backbone that shall stay as it is.

Without gradpm it ends in a traceback that points at the `backward()` call, which is right, and says
nothing of the line to change:

    RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn
"""

import torch
from torch import nn

torch.manual_seed(0)


class Classifier(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())
        self.head = nn.Linear(16, classes)

    def forward(self, x):  # (B, 20) -> (B, classes)
        return self.head(self.backbone(x))


def prepare(classes):
    model = Classifier(1000)  # as it came from pre-training
    model.head = nn.Linear(16, classes)
    for parameter in model.parameters():
        parameter.requires_grad = False
    return model


model = prepare(classes=3)
optimizer = torch.optim.SGD(model.head.parameters(), lr=0.1)
x, y = torch.randn(40, 20), torch.randint(0, 3, (40,))

for _ in range(10):
    loss = nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
