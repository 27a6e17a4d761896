"""The numbers of the program's files, also after it has closed every one that it does not know."""

import os

import torch

x = torch.ones(3, requires_grad=True)
(x * 2).sum().backward()
print(open("first", "w").fileno())
os.closerange(3, 4000)
files = [open(f"file{number}", "w") for number in range(250)]
print(files[0].fileno(), files[-1].fileno())
for _ in range(3000):
    (x * 2).sum().backward()
for file in files:
    file.write("mine")
    file.close()
print({open(file.name).read() for file in files})
