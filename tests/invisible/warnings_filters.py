import warnings

import torch

x = torch.ones(3, requires_grad=True)


def noisy():
    (x * 2).grad
    torch.nn.functional.mse_loss(x, torch.ones(3, 1))
    torch.ones(2, 3, 4).T


for action in ("once", "always", "default", "ignore", "module", "error"):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter(action)
        try:
            for _ in range(3):
                noisy()
        except Exception as error:
            print(type(error), error)
    for one in caught:
        print(
            action, one.category, str(one.message)[:40], one.filename.rpartition("/")[2], one.lineno
        )
with warnings.catch_warnings():
    warnings.filterwarnings("error", module="nowhere")
    warnings.filterwarnings("error", module="__main__", message=".*target size.*")
    try:
        noisy()
    except UserWarning as error:
        print("error", str(error)[:30])
