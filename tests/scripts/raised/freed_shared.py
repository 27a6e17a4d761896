import torch
from torch import nn

encoder, decoder, classifier = nn.Linear(3, 4), nn.Linear(4, 3), nn.Linear(4, 2)
x = torch.randn(5, 3)
code = encoder(x).tanh()  # culprit
rebuilt = (decoder(code) - x).pow(2).mean()
label = classifier(code).logsumexp(-1).mean()
rebuilt.backward()  # second
label.backward()
