import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, vectors):
        super().__init__()
        self.words = nn.Embedding.from_pretrained(vectors)  # <<culprit
        self.out = nn.Linear(vectors.shape[1], 1)

    def forward(self, ids):
        return self.out(self.words(ids).mean(1))


torch.manual_seed(0)
model = Model(torch.randn(10, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    loss = model(torch.randint(0, 10, (4, 5))).pow(2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
