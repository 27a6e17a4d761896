import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(5, 1)
        )

    def forward(self, x):
        return self.layers(x)


Net()(torch.ones(2, 3))
