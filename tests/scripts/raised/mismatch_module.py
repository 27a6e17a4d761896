import torch
from torch import nn


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(9, 6)
        self.lstm = nn.LSTM(8, 4)

    def forward(self, ids):
        x = self.emb(ids)  # second
        return self.lstm(x)[0]  # culprit


model = Tagger()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model(torch.randint(0, 9, (3, 5))).mean().backward()
