"""Loops that look odd and are right."""

import torch
from torch import nn

torch.manual_seed(0)


def accumulating():
    net = nn.Linear(3, 1)
    optimizer = torch.optim.Adam(net.parameters())
    for micro in range(16):
        (net(torch.randn(8, 3)).pow(2).mean() / 4).backward()
        if micro % 4 == 3:
            optimizer.step()
            optimizer.zero_grad()


def adversarial():
    """The critic's stray gradients are cleared before they are used."""
    make, judge = nn.Linear(2, 2), nn.Linear(2, 1)
    make_optimizer = torch.optim.Adam(make.parameters())
    judge_optimizer = torch.optim.Adam(judge.parameters())
    for step in range(8):
        made = make(torch.randn(16, 2))
        judge_optimizer.zero_grad()
        (judge(made.detach()).mean() - judge(torch.randn(16, 2)).mean().tanh()).backward()
        judge_optimizer.step()
        if step % 2:
            make_optimizer.zero_grad()
            judge(made).pow(2).mean().backward()
            make_optimizer.step()


def by_hand():
    weight = torch.zeros(3, requires_grad=True)
    for _ in range(8):
        (torch.randn(8, 3) @ weight - 1).pow(2).mean().backward()
        with torch.no_grad():
            weight -= 0.05 * weight.grad
        weight.grad = None


def given_by_hand():
    """Gradients that torch.func computed, while another net trains in the usual way."""
    net, other = nn.Linear(3, 1), nn.Linear(3, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    usual = torch.optim.SGD(other.parameters(), lr=0.05)

    def loss_of(parameters, x):
        return torch.func.functional_call(net, parameters, (x,)).pow(2).mean()

    for _ in range(4):
        values = {name: p.detach() for name, p in net.named_parameters()}
        grads = torch.func.grad(loss_of)(values, torch.randn(8, 3))
        for name, p in net.named_parameters():
            p.grad = grads[name]
        optimizer.step()
        optimizer.zero_grad()
        print(net(torch.randn(8, 3)).mean().item())
    for _ in range(4):
        usual.zero_grad()
        other(torch.randn(8, 3)).pow(2).mean().backward()
        usual.step()


def in_backward():
    """Each parameter is stepped and cleared by a hook."""
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    optimizers = {p: torch.optim.SGD([p], lr=0.05) for p in net.parameters()}

    def apply(p):
        optimizers[p].step()
        optimizers[p].zero_grad()

    for p in net.parameters():
        p.register_post_accumulate_grad_hook(apply)
    for _ in range(8):
        net(torch.randn(8, 3)).pow(2).mean().backward()


def learnt_loss():
    """Inner steps make new weights; the first ones get gradients too, and are nobody's to step."""
    judge, net = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1)), nn.Linear(3, 1)
    optimizer = torch.optim.Adam(judge.parameters())
    for _ in range(4):
        x = torch.randn(8, 3)
        inner = judge(net(x)).pow(2).mean()
        first = dict(net.named_parameters())
        slopes = torch.autograd.grad(inner, list(first.values()), create_graph=True)
        later = {name: w - 0.1 * g for (name, w), g in zip(first.items(), slopes)}
        optimizer.zero_grad()
        torch.func.functional_call(net, later, (x,)).pow(2).mean().backward()
        optimizer.step()


def closure():
    point = nn.Parameter(torch.tensor([2.0, 1.0]))
    optimizer = torch.optim.LBFGS([point], max_iter=4)

    def value():
        optimizer.zero_grad()
        loss = (point - 1).pow(4).sum()
        loss.backward()
        return loss

    for _ in range(4):
        optimizer.step(value)


def warmed_up_and_logged():
    net = nn.Linear(3, 1)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / 4))
    state, losses = torch.zeros(4), []
    for _ in range(12):
        state = 0.9 * state.detach() + 0.1 * net(torch.randn(4, 3)).squeeze(1)
        loss = (state - 1).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())


def some_skipped():
    net = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**124)
    for _ in range(16):
        loss = net(torch.randn(8, 3)).pow(2).mean() * 100
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()


def refilled_after_a_look():
    """Weights tried out and taken back: something has read them in between."""
    net = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(8):
        kept = {name: value.clone() for name, value in net.state_dict().items()}
        net(torch.randn(8, 3)).pow(2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        tried = net.state_dict()
        net.load_state_dict({name: 0.5 * (kept[name] + tried[name]) for name in kept})


def tied_by_copying():
    """One layer is made alike another after each step."""
    one, other = nn.Linear(3, 3), nn.Linear(3, 3)
    optimizer = torch.optim.SGD([*one.parameters(), *other.parameters()], lr=0.05)
    for _ in range(8):
        other.load_state_dict(one.state_dict())
        other(one(torch.randn(8, 3))).pow(2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def latent_only():
    """The net gets gradients on the way to the latent, and is not meant to learn."""
    net = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3))
    latent = nn.Parameter(torch.zeros(1, 2))
    optimizer = torch.optim.Adam([latent], lr=0.1)
    for _ in range(8):
        loss = (net(latent) - 1).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


class Given(torch.optim.Optimizer):
    """An optimizer that is handed the gradients."""

    def __init__(self, params):
        super().__init__(params, {"size": 0.05})

    @torch.no_grad()
    def step(self, grads):
        for group in self.param_groups:
            for p, grad in zip(group["params"], grads):
                p.data = p.data - group["size"] * grad


def handed_the_gradients():
    net = nn.Linear(3, 1)
    optimizer = Given(net.parameters())
    for _ in range(6):
        loss = net(torch.randn(8, 3)).pow(2).mean()
        optimizer.step(torch.autograd.grad(loss, list(net.parameters())))


def group_at_rest_for_a_while():
    """One group's rate is 0 at first, and another's is written as 0 throughout."""
    late, never, head = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 1)
    optimizer = torch.optim.SGD(
        [
            {"params": late.parameters(), "lr": 0.0},
            {"params": never.parameters(), "lr": 0.0},
            {"params": head.parameters(), "lr": 0.05},
        ]
    )
    for step in range(12):
        if step == 6:
            optimizer.param_groups[0]["lr"] = 0.05
        optimizer.zero_grad()
        head(never(late(torch.randn(8, 3)))).pow(2).mean().backward()
        optimizer.step()


def tried_out_and_taken_back():
    """Each step starts from the same weights on purpose: what it leads to is what is wanted."""
    net = nn.Linear(3, 1)
    first = {name: value.clone() for name, value in net.state_dict().items()}
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for _ in range(8):
        net.load_state_dict(first)
        x = torch.randn(8, 3)
        optimizer.zero_grad()
        net(x).pow(2).mean().backward()
        optimizer.step()
        with torch.no_grad():
            print(net(x).mean().item(), net.weight.norm().item())


for program in (
    accumulating,
    adversarial,
    by_hand,
    given_by_hand,
    in_backward,
    closure,
    warmed_up_and_logged,
    some_skipped,
    refilled_after_a_look,
    tied_by_copying,
    latent_only,
    learnt_loss,
    handed_the_gradients,
    group_at_rest_for_a_while,
    tried_out_and_taken_back,
):
    program()
