# env: PYTHONWARNINGS=error::UserWarning
import torch

x = torch.ones(3, requires_grad=True)
try:
    print(torch.nn.functional.mse_loss(x, torch.ones(3, 1)))
except UserWarning as error:
    print("raised", str(error)[:50], error.__traceback__.tb_lineno)
y = x * 2
print(y.grad)
