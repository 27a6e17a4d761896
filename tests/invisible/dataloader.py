import os

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info


class Squares(Dataset):
    def __len__(self):
        return 24

    def __getitem__(self, at):
        info = get_worker_info()
        return torch.rand(3) + torch.tensor([at, at * at, -1.0 if info is None else info.id])


def init(which):
    torch.manual_seed(which)


if __name__ == "__main__":
    before = set(os.listdir("."))
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    for workers in (0, 2):
        for epoch in range(2):
            loader = DataLoader(
                Squares(), 4, shuffle=True, num_workers=workers, worker_init_fn=init
            )
            for batch in loader:
                loss = model(batch).sum()
                loss.backward()
            print(workers, epoch, loss.item().hex())
    print([name for name in set(os.listdir(".")) - before if "pid" in name])
