"""Bad numbers that are meant, zeros that pass, norms that settle."""

import torch
import torch.nn.functional as F
from torch import nn

torch.manual_seed(0)


def adapted_low_rank():
    """The down-projection gets zeros in step 1 only."""
    down, up, head = nn.Linear(6, 2), nn.Linear(2, 6), nn.Linear(6, 1)
    nn.init.zeros_(up.weight)
    optimizer = torch.optim.Adam([*down.parameters(), *up.parameters(), *head.parameters()])
    for _ in range(8):
        x = torch.randn(12, 6)
        loss = F.mse_loss(head(x + up(down(x))), x[:, :1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def masked_attention():
    """-inf in a mask, and a root kept away from zero."""
    attend, head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 1)
    optimizer = torch.optim.Adam([*attend.parameters(), *head.parameters()])
    mask = torch.full((5, 5), float("-inf")).triu(1)
    for _ in range(6):
        x = torch.randn(4, 5, 8)
        h, _ = attend(x, x, x, attn_mask=mask)
        own = (x @ x.transpose(1, 2) + mask).softmax(dim=-1)
        loss = (head(h + own @ x).pow(2).sum(dim=1) + 1e-9).sqrt().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def satisfied_margin():
    """Zero gradients once the loss is 0."""
    net = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(40):
        loss = F.relu((net(torch.eye(2)) - 0.5).abs() - 0.2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def often_satisfied():
    """A loss of 0 in most steps, the first ones too; and a bias that distances do not see."""
    net = nn.Linear(3, 3)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for step in range(24):
        x = torch.randn(4, 3)
        far = x + (0.05 if step % 8 == 5 else 9.0)
        loss = F.triplet_margin_loss(net(x), net(x + 0.01), net(far), margin=0.2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def overflow_left_out():
    """One loss is infinite, its step is left out."""
    net = nn.Linear(3, 1)
    optimizer = torch.optim.Adam(net.parameters())
    for step in range(16):
        x = torch.randn(8, 3)
        target = x[:, :1] * (1e30 if step == 5 else 1)
        optimizer.zero_grad()
        loss = F.mse_loss(net(x), target)
        loss.backward()
        if torch.isfinite(loss):
            optimizer.step()


def skipped_batches():
    """Data that are NaN now and then, and a step that is left out for them."""
    net = nn.Linear(3, 1)
    optimizer = torch.optim.Adam(net.parameters())
    for step in range(16):
        x = torch.randn(8, 3)
        if step in (5, 11):
            x[0, 0] = float("nan")
        optimizer.zero_grad()
        F.mse_loss(net(x), x[:, :1]).backward()
        if all(bool(torch.isfinite(p.grad).all()) for p in net.parameters()):
            optimizer.step()


def deep_and_sound():
    """Sixteen layers with weights of the right size."""
    net = nn.Sequential(*[m for _ in range(16) for m in (nn.Linear(32, 32), nn.ReLU())])
    for module in net[::2]:
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    for _ in range(4):
        loss = net(torch.randn(16, 32)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def switched_off():
    """An auxiliary loss that this run gives the weight 0."""
    weights = {"main": 1.0, "extra": 0.0}
    body, main, extra = nn.Linear(4, 8), nn.Linear(8, 1), nn.Linear(8, 4)
    optimizer = torch.optim.Adam([*body.parameters(), *main.parameters(), *extra.parameters()])
    for _ in range(6):
        x = torch.randn(16, 4)
        h = torch.tanh(body(x))
        losses = {"main": F.mse_loss(main(h), x[:, :1]), "extra": F.mse_loss(extra(h), x)}
        loss = sum(weights[name] * losses[name] for name in weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


for program in (
    adapted_low_rank,
    masked_attention,
    satisfied_margin,
    often_satisfied,
    overflow_left_out,
    skipped_batches,
    deep_and_sound,
    switched_off,
):
    program()
